// The plain Routed records of the deliver fold; `streams/folds/deliver.py` is the definition.
//
// Not plain, and left to Python: a binding of a session that is not open, messages that are large or
// have anything unusual, deliveries while any queue has options, and records that are broken or
// larger than any that route writes.
#pragma once

#include "folds.h"

namespace streams {

// Bytes of a plain Routed. It must not exceed MAX_RECORD in `codec.py`, from which on Python refuses one.
constexpr size_t kMostBytes = 1 << 20;

struct DeliverConstants {
    std::string routed, message;             // headers
    std::string message_middle, message_end;  // defaults of a Message between `at` and echo, and after it
    int64_t log;                              // number of group-events
    uint32_t partition, partitions;
    int64_t most_seqs, shared_from;
    int64_t base;                            // added to the offset of a record in seqs
};

class Deliver {
public:
    int64_t delivered = 0;
    std::string receivers;  // queues that got something, each followed by a NUL, if `collect` is set

    Deliver(Overlay& rows, DeliverConstants constants) : rows_(rows), is_(std::move(constants)) {}

    bool maybe_plain(Slice value) const { return value.starts_with(is_.routed); }

    // Folds from `next` on, which it advances. `options`: a queue of the partition has options.
    Ended run(const Chunk& chunk, int64_t& next, int64_t most, bool options, bool collect) {
        int64_t entries = 0;
        for (; next < chunk.count && entries < most; next++) {
            if (!resuming_) {
                if (!parse(chunk, next) || (options && !messages_.empty())) return Ended::other;
                Step step = prepare();
                if (step == Step::other) return Ended::other;
                if (step == Step::missing) return Ended::missing;
            }
            resuming_ = !apply(chunk.offsets[next], collect);
            if (resuming_) return Ended::missing;
            entries += static_cast<int64_t>(kinds_.size) + static_cast<int64_t>(receivers_) + 1;
        }
        return Ended::paused;
    }

private:
    using Place = std::pair<int64_t, int64_t>;  // offset, part

    // The columns of the record.
    bool parse(const Chunk& chunk, int64_t i) {
        Slice value = chunk.value(i), key = chunk.key(i);
        if (!maybe_plain(value) || value.size > kMostBytes) return false;
        if (!key.size || partition_of(key, is_.partitions) != is_.partition) return false;
        Reader reader(value, is_.routed.size());
        int64_t source = reader.number();
        numbers(reader, changed_at_);
        kinds_ = reader.bytes();
        Slice groups = reader.bytes(), queues = reader.bytes(), sessions = reader.bytes();
        numbers(reader, origins_);
        numbers(reader, parts_);
        slices(reader, messages_);
        slices(reader, columns_);
        int64_t lane = reader.number(), log = reader.number();
        if (!reader.at_end() || log != is_.log || source < 0 || source >= is_.partitions || lane < 0 || lane > 1)
            return false;
        store_big(source_, static_cast<uint64_t>(source), 2);
        source_[2] = 1;
        source_size_ = lane ? 3 : 2;
        return groups_.read(groups) && queues_.read(queues) && sessions_.read(sessions, true) && changes_are_plain() &&
               deliveries_are_plain();
    }
    bool changes_are_plain() const {
        size_t count = changed_at_.size();
        if (kinds_.size != count || groups_.ids.size() != count || queues_.ids.size() != count ||
            sessions_.ids.size() != count)
            return false;
        for (size_t i = 0; i < count; i++) {
            if (kinds_.at(i) > 1 || changed_at_[i] < 0) return false;
            if (i && changed_at_[i - 1] >= changed_at_[i]) return false;
        }
        return true;
    }
    bool deliveries_are_plain() {
        size_t count = origins_.size();
        if (parts_.size() != count || messages_.size() != count || columns_.size() != count) return false;
        receivers_ = 0;
        for (size_t i = 0; i < count; i++) {
            if (origins_[i] < 0 || parts_[i] < 0 || parts_[i] >= int64_t{1} << 31) return false;
            if (i && place(i - 1) >= place(i)) return false;
            if (static_cast<int64_t>(messages_[i].size) >= is_.shared_from || !is_usual(messages_[i])) return false;
            if (!column_.read(columns_[i])) return false;
            receivers_ += column_.ids.size();
        }
        return static_cast<int64_t>(receivers_) <= is_.most_seqs;
    }
    // `is_usual_message` in `streams/events/codec.py`.
    bool is_usual(Slice message) const {
        if (!message.starts_with(is_.message)) return false;
        Reader reader(message, is_.message.size());
        for (int i = 0; i < 4; i++) {  // id, group, sender, kind
            uint8_t size = reader.byte();
            if (size & 0x81) return false;
            if (!is_utf8(reader.take(size >> 1))) return false;
        }
        if (reader.byte() != 0) return false;  // headers
        reader.bytes();                        // body
        reader.number(9);                      // at
        reader.skip(is_.message_middle);
        if (reader.byte() > 1) return false;  // echo
        reader.skip(is_.message_end);
        return reader.at_end();
    }
    // Finds what is above the watermark, and checks what may not be plain; changes nothing.
    Step prepare() {
        mark_ = rows_.read(watermark()).state;
        Place last{-1, 0};
        if (mark_ == Below::unknown) {
            rows_.want(watermark());
        } else if (mark_ == Below::present) {
            Value* row = rows_.read(watermark()).value;
            if (row->size != 12) return Step::other;
            last = {static_cast<int64_t>(load_big(row->data, 8)), static_cast<int64_t>(load_big(row->data + 8, 4))};
        }
        size_t changes = changed_at_.size(), count = origins_.size();
        newest_ = std::max(count ? place(count - 1) : last, changes ? Place{changed_at_[changes - 1], 0} : last);
        replay_ = newest_ <= last;
        change_ = static_cast<size_t>(std::upper_bound(changed_at_.begin(), changed_at_.end(), last.first) -
                                      changed_at_.begin());
        entry_ = 0;
        while (entry_ < count && place(entry_) <= last) entry_++;
        marked_ = false;
        if (!replay_ || rows_.wanted())
            for (size_t i = change_; i < changes && rows_.wanted() < kMostWanted; i++) {
                Slice session = sessions_.ids[i];
                if (!kinds_.at(i) || !session.size) continue;
                Key session_row = rows_.key({'s', queues_.ids[i]}, {});
                Found open = rows_.read(session_row);
                if (open.state == Below::unknown) rows_.want(session_row);
                else if (!open.is(session)) return Step::other;  // wants of earlier entries are forgotten
            }
        return rows_.wanted() ? Step::missing : Step::done;
    }
    // Returns false where rows are missing; the next call goes on there.
    bool apply(int64_t offset, bool collect) {
        if (replay_) return true;
        if (!marked_) {
            char row[12];
            store_big(row, static_cast<uint64_t>(newest_.first), 8);
            store_big(row + 8, static_cast<uint64_t>(newest_.second), 4);
            rows_.put(watermark(), rows_.value({row, 12}), mark_);
            marked_ = true;
        }
        for (; change_ < changed_at_.size(); change_++) {
            if (kinds_.at(change_)) {
                rows_.put(binding(change_), rows_.value(sessions_.ids[change_]));
            } else if (!rows_.remove(binding(change_))) {
                for (size_t i = change_; i < changed_at_.size() && rows_.wanted() < kMostWanted; i++)
                    if (!kinds_.at(i) && rows_.remove_needs(binding(i))) rows_.want(binding(i));
                return false;
            }
        }
        int64_t seq = (is_.base + offset) * is_.most_seqs + 1;
        for (size_t i = 0; i < messages_.size(); i++) {
            column_.read(columns_[i]);
            if (i < entry_ || column_.ids.empty()) {
                seq += static_cast<int64_t>(column_.ids.size());
                continue;
            }
            Value* message = rows_.value(messages_[i]);
            message->users = static_cast<uint32_t>(column_.ids.size());
            for (Slice queue : column_.ids) {
                char suffix[8];
                store_big(suffix, static_cast<uint64_t>(seq++), 8);
                rows_.put(rows_.key({'i', queue}, {suffix, 8}), message);
            }
            delivered += static_cast<int64_t>(column_.ids.size());
            if (collect) append(receivers, columns_[i]);
        }
        return true;
    }

    Key watermark() const { return rows_.key({kWatermarks, {}}, {source_, source_size_}); }
    Key binding(size_t i) const { return rows_.key({'b', queues_.ids[i]}, groups_.ids[i]); }
    Place place(size_t i) const { return {origins_[i], parts_[i]}; }
    static void numbers(Reader& reader, std::vector<int64_t>& target) {
        target.clear();
        size_t count = reader.array();
        if (count > kMostEntries) reader.ok = false;
        for (size_t i = 0; i < count && reader.ok; i++) target.push_back(reader.number());
        reader.array_end(count);
    }
    static void slices(Reader& reader, std::vector<Slice>& target) {
        target.clear();
        size_t count = reader.array();
        if (count > kMostEntries) reader.ok = false;
        for (size_t i = 0; i < count && reader.ok; i++) target.push_back(reader.bytes());
        reader.array_end(count);
    }

    Overlay& rows_;
    DeliverConstants is_;
    // The record in hand; kept while rows are looked up.
    std::vector<int64_t> changed_at_, origins_, parts_;
    std::vector<Slice> messages_, columns_;
    Slice kinds_;
    Column groups_, queues_, sessions_, column_;
    size_t receivers_ = 0;
    char source_[3];
    size_t source_size_ = 2;
    Below mark_ = Below::unknown;
    Place newest_;
    bool replay_ = false, marked_ = false, resuming_ = false;
    size_t change_ = 0, entry_ = 0;  // the next change, the first delivery
};

}  // namespace streams
