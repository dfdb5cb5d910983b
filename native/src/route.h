// The plain Binds, Unbinds and Messages of the route fold; `streams/folds/route.py` is the definition.
//
// Of Binds and Unbinds not plain, and left to Python: ids of 64 bytes or more, older schemas, records that are broken or
// out of place, origins of another log, `replaces`, bindings that cover others or are covered, and those with patterns.
#pragma once

#include <deque>

#include "publish.h"

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
    Publisher publisher;

    Route(Overlay& rows, RouteConstants constants, Packer packer_made, PublishConstants publish, uint64_t seed,
          size_t largest, size_t most)
        : packer(std::move(packer_made)), publisher(rows, packer, std::move(publish), seed, largest, most),
          rows_(rows), is_(std::move(constants)) {}

    bool maybe_plain(Slice value) const { return maybe_change(value) || publisher.maybe_plain(value); }

    // Folds from `next` on, which it advances. `uncovered`: no binding of the partition is covered.
    // `oldest`: see `Publisher::fold`.
    Ended run(const Chunk& chunk, int64_t& next, int64_t most, bool uncovered, int64_t oldest) {
        Ended ended = go_on(chunk, next, most, uncovered, oldest);
        if (ended != Ended::missing) ahead_.clear();
        return ended;
    }

private:
    struct Change {
        bool bound;
        Slice group, queue, session;
        bool has_origin;
        int64_t partition, offset, part;
        char source[2], place[12];  // the key and the value of the watermark
        Key row, watermark;
    };
    struct Event {
        bool plain, is_message;
        Change change;
        Publication publication;
    };

    Ended go_on(const Chunk& chunk, int64_t& next, int64_t most, bool uncovered, int64_t oldest) {
        for (int64_t spent = 0; next < chunk.count && spent < most; spent++, next++) {
            const Event& event = parsed(chunk, next);
            int64_t offset = chunk.offsets[next];
            Step step = Step::other;
            if (event.plain)
                step = event.is_message ? publisher.fold(event.publication, offset, chunk.times[next], is_.partitions,
                                                         oldest, spent)
                                        : fold(event.change, offset, uncovered);
            if (step == Step::other) return Ended::other;
            if (step == Step::missing) {
                int64_t end = std::min(chunk.count, next + most);
                for (int64_t i = next; i < end && rows_.wanted() < kMostWanted; i++) {
                    const Event& later = parsed(chunk, i);
                    if (later.plain) later.is_message ? publisher.want(later.publication) : want(later.change);
                }
                return Ended::missing;
            }
        }
        return Ended::paused;
    }
    // The record at `i`, or what is remembered of it from the last look ahead.
    const Event& parsed(const Chunk& chunk, int64_t i) {
        if (ahead_.empty()) ahead_from_ = i;
        for (auto known = static_cast<int64_t>(ahead_.size()); ahead_from_ + known <= i; known++) {
            ahead_.emplace_back();
            ahead_.back().plain = parse(chunk, ahead_from_ + known, ahead_.back());
        }
        return ahead_[static_cast<size_t>(i - ahead_from_)];
    }
    bool parse(const Chunk& chunk, int64_t i, Event& event) const {
        Slice value = chunk.value(i), key = chunk.key(i);
        event.is_message = publisher.maybe_plain(value);
        if (!event.is_message) return parse(value, key, event.change);
        return publisher.parse(value, event.publication) && belongs(event.publication.group, key);
    }
    bool belongs(Slice group, Slice key) const {
        return group == key && partition_of(group, is_.partitions) == is_.partition;
    }
    bool maybe_change(Slice value) const { return value.starts_with(is_.bind) || value.starts_with(is_.unbind); }
    static Slice short_id(Reader& reader) {
        uint8_t size = reader.byte();  // twice the length, by Avro's zigzag
        if (size & 0x81) reader.ok = false;
        Slice id = reader.take(size >> 1);
        if (reader.ok && !is_id(id)) reader.ok = false;
        return id;
    }
    bool parse(Slice value, Slice key, Change& change) const {
        if (!maybe_change(value)) return false;
        change.bound = value.starts_with(is_.bind);
        Reader reader(value, is_.bind.size());
        change.group = short_id(reader);
        if (!reader.ok || change.group.data[0] == '@' || !belongs(change.group, key)) return false;
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
            if (held.size && !held.data[0]) return Step::other;  // a binding with patterns
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
        publisher.fans.add(change.group, target, change.queue);
    }
    void unbind(const Change& change, int64_t offset, const Value* row) {
        auto target = static_cast<uint32_t>(load_big(row->data, 2));
        packer.change(target, offset, false, change.group, change.queue, held_by(row));
        rows_.remove(change.row, Below::present);
        publisher.fans.remove(change.group, target, change.queue);
    }
    void want(const Change& change) {
        if (change.has_origin && rows_.read(change.watermark).state == Below::unknown)
            rows_.want(change.watermark);
        if (rows_.read(change.row).state == Below::unknown ||
            rows_.remove_needs(change.row))
            rows_.want(change.row);
    }
    Overlay& rows_;
    RouteConstants is_;
    std::deque<Event> ahead_;  // parsed records of the run, from the index `ahead_from_` on
    int64_t ahead_from_ = 0;
};

}  // namespace streams
