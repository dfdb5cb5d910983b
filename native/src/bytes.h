// Bytes, ids, hashes and Avro: the plain ground that the rest stands on.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace streams {

// Bytes that somebody else owns.
struct Slice {
    const char* data = nullptr;
    size_t size = 0;

    bool operator==(const Slice& other) const {
        return size == other.size && (size == 0 || std::memcmp(data, other.data, size) == 0);
    }
    bool operator!=(const Slice& other) const { return !(*this == other); }
    bool starts_with(const std::string& head) const {
        return size >= head.size() && std::memcmp(data, head.data(), head.size()) == 0;
    }
    uint8_t at(size_t place) const { return static_cast<uint8_t>(data[place]); }
};

inline Slice slice(const std::string& text) { return {text.data(), text.size()}; }

// A key of a bucket, made of a byte for its kind and the id of its owner; `Bucket` in `row_keys.py`.
struct Name {
    char kind;
    Slice owner;
    size_t size() const { return 1 + owner.size; }
};

// What names a row, with the hashes of the bucket and of both.
struct Key {
    Name bucket;
    Slice suffix;
    uint64_t bucket_hash, hash;
};

inline void append(std::string& target, Slice bytes) { target.append(bytes.data, bytes.size); }

inline void append_number(std::string& target, uint64_t number, int bytes) {  // little-endian
    for (int i = 0; i < bytes; i++) target.push_back(static_cast<char>(number >> (8 * i)));
}

inline void store_big(char* target, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++) target[i] = static_cast<char>(number >> (8 * (bytes - 1 - i)));
}

inline uint64_t load_big(const char* source, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | static_cast<uint8_t>(source[i]);
    return number;
}

// Hash of a row's key. Ids come from users, so the seed must be secret: see `Overlay`.
inline uint64_t hash_bytes(Slice bytes, uint64_t seed) {
    auto mix = [](uint64_t a, uint64_t b) {
        unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
        return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    uint64_t hash = seed ^ (bytes.size * 0x9E3779B97F4A7C15ULL);
    size_t place = 0;
    for (; place + 8 <= bytes.size; place += 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data + place, 8);
        hash = mix(hash ^ word, 0xE7037ED1A0B428DBULL ^ seed);
    }
    uint64_t word = 0;
    if (place < bytes.size) std::memcpy(&word, bytes.data + place, bytes.size - place);
    return mix(hash ^ word, 0x8EBC6AF09C88C6E3ULL ^ seed);
}

// The hash by which Kafka's clients choose a partition (`streams/kafka/partitioner.py`).
inline uint32_t murmur2(Slice key) {
    const uint32_t m = 0x5BD1E995;
    uint32_t h = 0x9747B28C ^ static_cast<uint32_t>(key.size);
    size_t place = 0;
    for (; place + 4 <= key.size; place += 4) {
        uint32_t k = key.at(place) | key.at(place + 1) << 8 | key.at(place + 2) << 16 |
                     static_cast<uint32_t>(key.at(place + 3)) << 24;
        k *= m;
        h = h * m ^ (k ^ k >> 24) * m;
    }
    if (place < key.size) {
        uint32_t rest = 0;
        for (size_t i = 0; place + i < key.size; i++) rest |= static_cast<uint32_t>(key.at(place + i)) << (8 * i);
        h = (h ^ rest) * m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

inline uint32_t partition_of(Slice key, uint32_t partitions) {
    return (murmur2(key) & 0x7FFFFFFF) % partitions;
}

// Length of the UTF-8 character at `place`; 0 if it is not valid.
inline size_t character(Slice text, size_t place) {
    uint8_t first = text.at(place);
    if (first < 0x80) return 1;
    size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || place + size > text.size) return 0;
    for (size_t i = 1; i < size; i++)
        if ((text.at(place + i) & 0xC0) != 0x80) return 0;
    uint8_t second = text.at(place + 1);
    bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    bool surrogate = first == 0xED && second > 0x9F;
    bool beyond = first == 0xF4 && second > 0x8F;
    return overlong || surrogate || beyond ? 0 : size;
}

inline bool is_utf8(Slice text) {
    for (size_t place = 0, size; place < text.size; place += size) {
        size = character(text, place);
        if (!size) return false;
    }
    return true;
}

// Whether the bytes are an id: 1 to 255 bytes of UTF-8 without control characters (`streams/ids.py`).
inline bool is_id(Slice text) {
    if (text.size == 0 || text.size > 255) return false;
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    size_t place = 0;
    for (uint64_t word; place + 8 <= text.size; place += 8) {  // eight printable ASCII characters at a time
        std::memcpy(&word, text.data + place, 8);
        if ((word | (word - 0x20 * ones) | (word + ones)) & high) break;
    }
    for (size_t size; place < text.size; place += size) {
        uint8_t first = text.at(place);
        if (first < 0x20 || first == 0x7F) return false;
        size = character(text, place);
        if (!size) return false;
        if (first == 0xC2 && text.at(place + 1) < 0xA0) return false;  // C1
    }
    return true;
}

inline void append_long(std::string& target, int64_t number) {
    uint64_t rest = static_cast<uint64_t>(number) << 1 ^ static_cast<uint64_t>(number >> 63);
    while (rest > 127) {
        target.push_back(static_cast<char>((rest & 127) | 128));
        rest >>= 7;
    }
    target.push_back(static_cast<char>(rest));
}

inline void append_bytes(std::string& target, Slice bytes) {
    append_long(target, static_cast<int64_t>(bytes.size));
    append(target, bytes);
}

// Reads Avro from bytes that may be anything. After a fault `ok` is false and all reads return nothing.
class Reader {
public:
    bool ok = true;
    explicit Reader(Slice bytes, size_t place = 0) : bytes_(bytes), place_(place) {
        if (place > bytes.size) ok = false;
    }
    size_t place() const { return place_; }
    bool at_end() const { return ok && place_ == bytes_.size; }

    uint8_t byte() {
        if (!ok || place_ >= bytes_.size) return fail();
        return bytes_.at(place_++);
    }
    Slice take(uint64_t size) {
        if (!ok || size > bytes_.size - place_) {
            ok = false;
            return {};
        }
        Slice taken{bytes_.data + place_, static_cast<size_t>(size)};
        place_ += size;
        return taken;
    }
    bool skip(const std::string& expected) {
        Slice found = take(expected.size());
        return ok = ok && found == slice(expected);
    }
    // A number of at most `most` bytes; a number that does not fit into 64 bits is a fault.
    int64_t number(int most = 10) {
        uint64_t raw = 0;
        for (int i = 0; i < most; i++) {
            uint8_t next = byte();
            if (!ok || (i == 9 && next > 1)) return fail();
            raw |= static_cast<uint64_t>(next & 127) << (7 * i);
            if (next < 128) return static_cast<int64_t>(raw >> 1 ^ (~(raw & 1) + 1));
        }
        return fail();
    }
    Slice bytes() {
        int64_t size = number();
        return size < 0 ? (ok = false, Slice{}) : take(static_cast<uint64_t>(size));
    }
    // Items of an array in one block, as fastavro writes it; anything else is a fault.
    size_t array() {
        int64_t count = number();
        if (count < 0 || static_cast<uint64_t>(count) > bytes_.size - place_) return fail();
        return static_cast<size_t>(count);
    }
    void array_end(size_t count) {
        if (count && byte() != 0) ok = false;
    }

private:
    uint8_t fail() {
        ok = false;
        return 0;
    }
    Slice bytes_;
    size_t place_;
};

// Entries of a column of a plain Routed; route writes no more (`packing.py`). It bounds the memory
// that a partition keeps for the next record.
constexpr size_t kMostEntries = 8192;

// Ids that are each followed by a NUL, as in Routed.
struct Column {
    std::vector<Slice> ids;

    // Returns false if they are not valid ids, or too many.
    bool read(Slice joined, bool or_empty = false) {
        ids.clear();
        size_t begin = 0;
        while (begin < joined.size) {
            const void* end = std::memchr(joined.data + begin, 0, joined.size - begin);
            if (!end || ids.size() == kMostEntries) return false;
            Slice id{joined.data + begin, static_cast<size_t>(static_cast<const char*>(end) - joined.data) - begin};
            if (!(id.size == 0 && or_empty) && !is_id(id)) return false;
            ids.push_back(id);
            begin += id.size + 1;
        }
        return true;
    }
};

}  // namespace streams
