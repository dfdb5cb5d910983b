// The plain Binds and Unbinds of the route fold; `streams/folds/route.py` is the definition.
//
// Not plain, and left to Python: ids of 64 bytes or more, older schemas, records that are broken or
// out of place, origins of another log, `replaces`, and bindings that cover others or are covered.
#pragma once

#include <deque>

#include "folds.h"

namespace streams {

struct RouteConstants {
    std::string bind, unbind;          // headers
    std::string bind_end, unbind_end;  // defaults of later fields
    std::string log;                   // number of queue-events, as Avro writes it
    uint32_t partition, partitions;
};

class Route {
public:
    Packer packer;
    std::string noted;  // changes of watched groups: a byte (1: joined), partition, sizes, group, queue

    Route(Overlay& rows, RouteConstants constants, Packer packer, uint64_t seed)
        : packer(std::move(packer)), rows_(rows), is_(std::move(constants)), watched_(seed) {}

    void watch(Slice group) {
        Key key = watched_.key({'g', group}, {});
        if (!watched_.find(key)) watched_.add(key, nullptr, Below::unknown);
    }
    void unwatch(Slice group) {
        if (Row* row = watched_.find(watched_.key({'g', group}, {}))) watched_.remove(row);
    }
    bool maybe_plain(Slice value) const { return value.starts_with(is_.bind) || value.starts_with(is_.unbind); }

    // Folds from `next` on, which it advances. `uncovered`: no binding of the partition is covered.
    Ended run(const Chunk& chunk, int64_t& next, int64_t most, bool uncovered) {
        Ended ended = go_on(chunk, next, chunk.count - next < most ? chunk.count : next + most, uncovered);
        if (ended != Ended::missing) ahead_.clear();
        return ended;
    }

private:
    enum class Step { done, other, missing };

    struct Change {
        bool plain, bound;
        Slice group, queue, session;
        bool has_origin;
        int64_t partition, offset, part;
        char source[2], place[12];  // the key and the value of the watermark
        Key row, watermark;
    };

    Ended go_on(const Chunk& chunk, int64_t& next, int64_t end, bool uncovered) {
        for (; next < end; next++) {
            const Change& change = parsed(chunk, next);
            Step step = change.plain ? fold(change, chunk.offsets[next], uncovered) : Step::other;
            if (step == Step::other) return Ended::other;
            if (step == Step::missing) {
                for (int64_t i = next; i < end && rows_.wanted() < kMostWanted; i++) {
                    const Change& later = parsed(chunk, i);
                    if (later.plain) want(later);
                }
                return Ended::missing;
            }
        }
        return Ended::paused;
    }
    // The record at `i`, or what is remembered of it from the last look ahead.
    const Change& parsed(const Chunk& chunk, int64_t i) {
        if (ahead_.empty()) ahead_from_ = i;
        for (auto known = static_cast<int64_t>(ahead_.size()); ahead_from_ + known <= i; known++) {
            ahead_.emplace_back();
            ahead_.back().plain = parse(chunk, ahead_from_ + known, ahead_.back());
        }
        return ahead_[static_cast<size_t>(i - ahead_from_)];
    }
    static Slice short_id(Reader& reader) {
        uint8_t size = reader.byte();  // twice the length, by Avro's zigzag
        if (size & 0x81) reader.ok = false;
        Slice id = reader.take(size >> 1);
        if (reader.ok && !is_id(id)) reader.ok = false;
        return id;
    }
    bool parse(const Chunk& chunk, int64_t i, Change& change) const {
        Slice value = chunk.value(i);
        if (!maybe_plain(value)) return false;
        change.bound = value.starts_with(is_.bind);
        Reader reader(value, is_.bind.size());
        change.group = short_id(reader);
        if (!reader.ok || change.group != chunk.key(i) || change.group.data[0] == '@') return false;
        if (partition_of(change.group, is_.partitions) != is_.partition) return false;
        change.queue = short_id(reader);
        change.session = {};
        uint8_t has_session = reader.byte();
        if (has_session == 2) change.session = short_id(reader);
        else if (has_session) return false;
        reader.number(9);  // at
        uint8_t has_origin = reader.byte();
        change.has_origin = has_origin == 2;
        if (has_origin == 2) {
            change.partition = reader.number(5);
            change.offset = reader.number(9);
            change.part = reader.number(5);
            reader.skip(is_.log);
            if (change.partition < 0 || change.partition >= is_.partitions || change.offset < 0 || change.part < 0 ||
                change.part >= int64_t{1} << 31)
                return false;
            store_big(change.source, static_cast<uint64_t>(change.partition), 2);
            store_big(change.place, static_cast<uint64_t>(change.offset), 8);
            store_big(change.place + 8, static_cast<uint64_t>(change.part), 4);
            change.watermark = rows_.key({kWatermarks, {}}, {change.source, 2});
        } else if (has_origin) {
            return false;
        }
        if (change.bound && reader.byte() != 0) return false;  // replaces
        reader.skip(change.bound ? is_.bind_end : is_.unbind_end);
        if (!reader.at_end()) return false;
        change.row = rows_.key({'m', change.group}, change.queue);
        return true;
    }
    Step fold(const Change& change, int64_t offset, bool uncovered) {
        Slice place{change.place, 12};
        Found mark{Below::absent, nullptr};
        if (change.has_origin) {
            mark = rows_.read(change.watermark);
            if (mark.state == Below::unknown) return Step::missing;
            if (mark.state == Below::present) {
                if (mark.value->size != place.size) return Step::other;
                if (std::memcmp(place.data, mark.value->data, place.size) <= 0) return Step::done;  // a replay
            }
        }
        Found row = rows_.read(change.row);
        if (row.state == Below::unknown) return Step::missing;
        bool changes = row.state == Below::absent ? change.bound : !change.bound;
        if (row.state == Below::present) {
            if (row.value->size < 2) return Step::other;
            Slice held = held_by(row.value);
            bool same = held == change.session;
            if (change.bound && held.size && !same) return Step::other;  // it covers the one that is held
            if (!change.bound) {
                if (!uncovered && held.size) return Step::other;
                if (change.session.size && !same) {
                    if (!uncovered) return Step::other;
                    changes = false;
                }
                if (changes && rows_.remove_needs(change.row)) return Step::missing;
            }
        }
        if (change.has_origin) rows_.put(change.watermark, rows_.value(place), mark.state);
        if (changes) (change.bound ? bind(change, offset) : unbind(change, offset, row.value));
        return Step::done;
    }
    static Slice held_by(const Value* row) { return {row->data + 2, row->size - size_t{2}}; }

    void bind(const Change& change, int64_t offset) {
        uint32_t target = partition_of(change.queue, is_.partitions);
        std::string row(2, '\0');
        store_big(row.data(), target, 2);
        append(row, change.session);
        rows_.put(change.row, rows_.value(slice(row)), Below::absent);
        packer.change(target, offset, true, change.group, change.queue, change.session);
        note(1, target, change);
    }
    void unbind(const Change& change, int64_t offset, const Value* row) {
        auto target = static_cast<uint32_t>(load_big(row->data, 2));
        packer.change(target, offset, false, change.group, change.queue, held_by(row));
        rows_.remove(change.row, Below::present);
        note(0, target, change);
    }
    void want(const Change& change) {
        if (change.has_origin && rows_.read(change.watermark).state == Below::unknown)
            rows_.want(change.watermark);
        if (rows_.read(change.row).state == Below::unknown ||
            rows_.remove_needs(change.row))
            rows_.want(change.row);
    }
    void note(char joined, uint32_t target, const Change& change) {
        if (!watched_.rows().count() || !watched_.find(watched_.key({'g', change.group}, {}))) return;
        noted.push_back(joined);
        append_number(noted, target, 4);
        append_number(noted, change.group.size, 4);
        append_number(noted, change.queue.size, 4);
        append(noted, change.group);
        append(noted, change.queue);
    }
    Overlay& rows_;
    RouteConstants is_;
    std::deque<Change> ahead_;  // parsed records of the run, from the index `ahead_from_` on
    int64_t ahead_from_ = 0;
    Layer watched_;  // groups of which Python caches the members; only the buckets matter
};

}  // namespace streams
