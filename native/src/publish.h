// The plain Messages of the route fold: `_message` in `streams/folds/route.py` is the definition.
//
// Not plain, and left to Python: messages with headers, origins or any field that is not as usual,
// large ones, groups that are not cached, ids that were used before the window, and messages at which
// old ids are to be forgotten.
#pragma once

#include "fans.h"
#include "folds.h"

namespace streams {

constexpr char kClock = 't', kMessageIds = 'd', kMessageIdsByTime = 'x';
constexpr char kBySender = 1;  // the mark of a clock's row: every remembered id has its sender
constexpr size_t kMostMessage = 64 << 10;  // bytes of a plain Message

struct PublishConstants {
    std::string message, middle, end;  // header, and defaults between `at` and echo, and after it
    int64_t window, purge_step;        // milliseconds
};

struct Publication {
    Slice id, group, sender, kind, body;
    bool echo;
    size_t ident_size;
    char ident[128];  // id, NUL, sender
    Key clock, seen;
};

class Publisher {
public:
    Fans fans;
    int64_t messages = 0, duplicates = 0;

    Publisher(Overlay& rows, Packer& packer, PublishConstants constants, uint64_t seed, size_t largest, size_t most)
        : fans(seed, largest, most), rows_(rows), packer_(packer), is_(std::move(constants)) {}

    bool maybe_plain(Slice value) const { return value.starts_with(is_.message); }

    // Reads a record; its group and key are for the caller to check.
    bool parse(Slice value, Publication& read) const {
        if (!maybe_plain(value) || value.size > kMostMessage) return false;
        Reader reader(value, is_.message.size());
        for (Slice* text : {&read.id, &read.group, &read.sender, &read.kind}) {
            uint8_t size = reader.byte();  // twice the length, by Avro's zigzag
            if (size & 0x81) return false;
            *text = reader.take(size >> 1);
            if (!is_utf8(*text)) return false;
        }
        if (reader.byte() != 0) return false;  // headers
        read.body = reader.bytes();
        reader.number(9);  // at
        reader.skip(is_.middle);
        uint8_t echo = reader.byte();
        read.echo = echo == 1;
        reader.skip(is_.end);
        if (echo > 1 || !reader.at_end() || !is_id(read.id)) return false;
        Slice name = read.group;
        if (name.size && name.data[0] == '@') name = {name.data + 1, name.size - 1};
        if (!is_id(name)) return false;
        char* ident = read.ident;
        std::memcpy(ident, read.id.data, read.id.size);
        ident[read.id.size] = '\0';
        if (read.sender.size) std::memcpy(ident + read.id.size + 1, read.sender.data, read.sender.size);
        read.ident_size = read.id.size + 1 + read.sender.size;
        read.clock = rows_.key({kClock, {}}, {});
        read.seen = rows_.key({kMessageIds, read.group}, {ident, read.ident_size});
        return true;
    }
    void want(const Publication& message) const {
        for (const Key* key : {&message.clock, &message.seen})
            if (rows_.read(*key).state == Below::unknown) rows_.want(*key);
    }
    // `oldest`: no remembered id has an earlier log time. Adds to `spent` what it costs, in records.
    Step fold(const Publication& message, int64_t offset, int64_t timestamp, uint32_t partitions, int64_t oldest,
              int64_t& spent) {
        Found clock = rows_.read(message.clock);
        if (clock.state == Below::unknown) return Step::missing;
        int64_t now = std::max<int64_t>(timestamp, 0);
        if (clock.state == Below::present) {
            if (clock.value->size != 9 || clock.value->data[8] != kBySender) return Step::other;
            auto last = static_cast<int64_t>(load_big(clock.value->data, 8));
            if (last < 0) return Step::other;
            now = std::max(now, last);
        }
        int64_t horizon = now - is_.window;
        if (horizon > 0 && oldest < horizon - horizon % is_.purge_step) return Step::other;
        Found seen = rows_.read(message.seen);
        if (seen.state == Below::unknown) return Step::missing;
        if (seen.state == Below::present) {
            if (seen.value->size != 8) return Step::other;
            auto first = static_cast<int64_t>(load_big(seen.value->data, 8));
            if (first < horizon) return Step::other;
            put_clock(message, now, clock.state);
            duplicates++;
            return Step::done;
        }
        bool direct = message.group.data[0] == '@';
        Fan* fan = direct ? nullptr : fans.get(message.group);
        if (!direct && !fan) return Step::other;

        put_clock(message, now, clock.state);
        remember(message, now);
        messages++;
        encode(message, now);
        const Slice* but = message.echo ? nullptr : &message.sender;
        if (direct) {
            column_.assign(message.group.data + 1, message.group.size - 1);
            Slice queue = slice(column_);
            if (but && *but == queue) return Step::done;
            uint32_t target = partition_of(queue, partitions);
            column_.push_back('\0');
            packer_.delivery(target, offset, 0, slice(encoded_), slice(column_), 1);
            return Step::done;
        }
        spent += static_cast<int64_t>(fan->size) / 16;
        fan->each(but, [&](uint32_t target, Slice column, size_t count) {
            packer_.delivery(target, offset, 0, slice(encoded_), column, static_cast<int64_t>(count));
        });
        return Step::done;
    }

private:
    void put_clock(const Publication& message, int64_t now, Below below) {
        char row[9];
        store_big(row, static_cast<uint64_t>(now), 8);
        row[8] = kBySender;
        rows_.put(message.clock, rows_.value({row, 9}), below);
    }
    void remember(const Publication& message, int64_t now) {
        char time[8];
        store_big(time, static_cast<uint64_t>(now), 8);
        rows_.put(message.seen, rows_.value({time, 8}), Below::absent);
        suffix_.assign(time, 8);
        append(suffix_, message.group);
        suffix_.push_back('\0');
        append(suffix_, {message.ident, message.ident_size});
        rows_.put(rows_.key({kMessageIdsByTime, {}}, slice(suffix_)), rows_.value({}));
    }
    // The message as its receivers get it.
    void encode(const Publication& message, int64_t now) {
        encoded_ = is_.message;
        for (Slice text : {message.id, message.group, message.sender, message.kind}) append_bytes(encoded_, text);
        encoded_.push_back('\0');  // headers
        append_bytes(encoded_, message.body);
        append_long(encoded_, now);
        encoded_ += is_.middle;
        encoded_.push_back(message.echo ? 1 : 0);
        encoded_ += is_.end;
    }
    Overlay& rows_;
    Packer& packer_;
    PublishConstants is_;
    std::string encoded_, suffix_, column_;
};

}  // namespace streams
