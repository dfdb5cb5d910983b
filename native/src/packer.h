// Packs changes and deliveries into Routed records; `streams/folds/packing.py` is the definition.
#pragma once

#include <map>

#include "bytes.h"

namespace streams {

struct PackedRecord {
    uint32_t target;
    std::string key;
    std::string value;
};

class Packer {
public:
    std::vector<PackedRecord> finished;
    int64_t binds = 0, unbinds = 0, deliveries = 0;  // of finished records

    Packer(Slice header, uint32_t source, int64_t log, int64_t most_bytes, int64_t most_changes, int64_t most_seqs)
        : header_(header.data, header.size), source_(source), log_(log), most_bytes_(most_bytes),
          most_changes_(most_changes), most_seqs_(most_seqs) {}

    void change(uint32_t target, int64_t offset, bool bound, Slice group, Slice queue, Slice session) {
        auto size = static_cast<int64_t>(group.size + queue.size + session.size);
        Open* open = &open_[target];
        if (open->size + size > most_bytes_ || static_cast<int64_t>(open->kinds.size()) == most_changes_)
            open = renew(target);
        if (open->kinds.empty()) open->first_queue.assign(queue.data, queue.size);
        open->size += size + 16;
        append_long(open->offsets, offset);
        open->kinds.push_back(bound ? 1 : 0);
        open->bound += bound;
        join(open->groups, group);
        join(open->queues, queue);
        join(open->sessions, session);
    }
    void delivery(uint32_t target, int64_t offset, int64_t part, Slice message, Slice column, int64_t count) {
        auto size = static_cast<int64_t>(message.size + column.size) + count + 16;
        Open* open = &open_[target];
        if (open->size + size > most_bytes_ || open->entries + count > most_seqs_) open = renew(target);
        if (!open->messages_count) {
            const void* end = column.size ? std::memchr(column.data, 0, column.size) : nullptr;
            open->first_receiver.assign(
                column.data, end ? static_cast<size_t>(static_cast<const char*>(end) - column.data) : column.size);
        }
        open->size += size;
        open->entries += count;
        open->messages_count++;
        append_long(open->origins, offset);
        append_long(open->parts, part);
        append_bytes(open->messages, message);
        append_bytes(open->columns, column);
    }
    void flush() {
        for (auto& [target, open] : open_) close(target, open);
        open_.clear();
    }

private:
    struct Open {
        int64_t size = 0, bound = 0, entries = 0, messages_count = 0;
        std::string offsets, kinds, groups, queues, sessions, origins, parts, messages, columns;
        std::string first_queue, first_receiver;
        bool empty() const { return kinds.empty() && !messages_count; }
    };
    static void join(std::string& column, Slice id) {
        append(column, id);
        column.push_back('\0');
    }
    static void append_array(std::string& target, size_t count, const std::string& items) {
        if (count) {
            append_long(target, static_cast<int64_t>(count));
            target += items;
        }
        target.push_back('\0');
    }
    // An empty record is never closed: even an entry above the limits has a record of its own.
    Open* renew(uint32_t target) {
        Open& full = open_[target];
        if (full.empty()) return &full;
        close(target, full);
        return &(full = Open());
    }
    void close(uint32_t target, const Open& open) {
        size_t changes = open.kinds.size();
        auto messages = static_cast<size_t>(open.messages_count);
        std::string value = header_;
        append_long(value, source_);
        append_array(value, changes, open.offsets);
        append_bytes(value, slice(open.kinds));
        append_bytes(value, slice(open.groups));
        append_bytes(value, slice(open.queues));
        append_bytes(value, slice(open.sessions));
        append_array(value, messages, open.origins);
        append_array(value, messages, open.parts);
        append_array(value, messages, open.messages);
        append_array(value, messages, open.columns);
        append_long(value, 0);  // lane
        append_long(value, log_);
        binds += open.bound;
        unbinds += static_cast<int64_t>(changes) - open.bound;
        deliveries += open.entries;
        finished.push_back({target, changes ? open.first_queue : open.first_receiver, std::move(value)});
    }
    std::string header_;
    uint32_t source_;
    int64_t log_, most_bytes_, most_changes_, most_seqs_;
    std::map<uint32_t, Open> open_;
};

}  // namespace streams
