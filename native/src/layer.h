// One layer of the rows of a table partition.
#pragma once

#include <atomic>

#include "bytes.h"
#include "pool.h"

namespace streams {

// The value of one or several rows. All of them are in one layer, so the count needs no lock.
struct Value {
    uint32_t users;
    uint32_t size;
    char data[1];

    Slice bytes() const { return {data, size}; }
};

// A hash table of objects that have the fields `chain` and `hash`.
template <typename T>
class Table {
public:
    template <typename Same>
    T* find(uint64_t hash, Same same) const {
        if (heads_.empty()) return nullptr;
        T* one = heads_[hash & (heads_.size() - 1)];
        while (one && !(one->hash == hash && same(*one))) one = one->chain;
        return one;
    }
    void insert(T* one) {
        if (count_ >= heads_.size()) grow();
        T*& head = heads_[one->hash & (heads_.size() - 1)];
        one->chain = head;
        head = one;
        count_++;
    }
    void remove(T* one) {
        T** link = &heads_[one->hash & (heads_.size() - 1)];
        while (*link != one) link = &(*link)->chain;
        *link = one->chain;
        count_--;
    }
    size_t count() const { return count_; }
    const std::vector<T*>& heads() const { return heads_; }

private:
    void grow() {
        std::vector<T*> old = std::move(heads_);
        heads_.assign(old.empty() ? 16 : old.size() * 2, nullptr);
        for (T* one : old)
            while (one) {
                T* next = one->chain;
                T*& head = heads_[one->hash & (heads_.size() - 1)];
                one->chain = head;
                head = one;
                one = next;
            }
    }
    std::vector<T*> heads_;
    size_t count_ = 0;
};

// What is known of a row in the layers below.
enum class Below : uint8_t { unknown, absent, present };

struct Row;

struct Bucket {
    Bucket* chain;
    uint64_t hash;
    Row* first;
    uint32_t name_size;
    char name_data[1];

    Slice name() const { return {name_data, name_size}; }
};

struct Row {
    Row* chain;
    uint64_t hash;
    Row* next;  // in the bucket
    Row* previous;
    Bucket* bucket;
    Value* value;  // none: the row is deleted
    Below below;
    uint32_t suffix_size;
    char suffix_data[1];

    Slice suffix() const { return {suffix_data, suffix_size}; }
};

inline int compare(Slice one, Slice other) {
    size_t common = one.size < other.size ? one.size : other.size;
    int order = common ? std::memcmp(one.data, other.data, common) : 0;
    return order ? order : (one.size > other.size) - (one.size < other.size);
}

// The order of raw keys. A bucket has no NUL, so it can be compared on its own.
inline bool is_before(const Row* one, const Row* other) {
    int order = one->bucket == other->bucket ? 0 : compare(one->bucket->name(), other->bucket->name());
    return (order ? order : compare(one->suffix(), other->suffix())) < 0;
}

// Rows by bucket and suffix. Shared by the overlay and by the checkpoint that saves them.
class Layer {
public:
    std::atomic<int> users{1};

    explicit Layer(uint64_t seed) : seed_(seed) {}
    Layer(const Layer&) = delete;
    ~Layer() { give_large(); }

    void clear() {
        if (!rows_.count()) return;
        give_large();
        pool_.clear();
        rows_ = {};
        buckets_ = {};
        sorted_.clear();
    }
    // A value for rows of this layer, with one use.
    Value* value(Slice bytes) {
        auto* value = static_cast<Value*>(pool_.take(sizeof(Value) + bytes.size));
        value->users = 1;
        value->size = static_cast<uint32_t>(bytes.size);
        if (bytes.size) std::memcpy(value->data, bytes.data, bytes.size);
        return value;
    }
    // Ends one use of a value.
    void release(Value* value) {
        if (value && --value->users == 0) pool_.give(value, sizeof(Value) + value->size);
    }
    Key key(Name bucket, Slice suffix) const {
        uint64_t hash = bucket_hash(bucket);
        return {bucket, suffix, hash, hash_bytes(suffix, hash)};
    }
    Row* find(const Key& key) const {
        return rows_.find(
            key.hash, [&](const Row& row) { return row.suffix() == key.suffix && is(*row.bucket, key.bucket); });
    }
    Row* add(const Key& key, Value* value, Below below) {
        Slice suffix = key.suffix;
        auto* row = static_cast<Row*>(pool_.take(sizeof(Row) + suffix.size));
        row->hash = key.hash;
        row->value = value;
        row->below = below;
        row->suffix_size = static_cast<uint32_t>(suffix.size);
        if (suffix.size) std::memcpy(row->suffix_data, suffix.data, suffix.size);
        Bucket* bucket = find_bucket(key.bucket, key.bucket_hash);
        if (!bucket) {
            Name name = key.bucket;
            bucket = static_cast<Bucket*>(pool_.take(sizeof(Bucket) + name.size()));
            bucket->hash = key.bucket_hash;
            bucket->first = nullptr;
            bucket->name_size = static_cast<uint32_t>(name.size());
            bucket->name_data[0] = name.kind;
            if (name.owner.size) std::memcpy(bucket->name_data + 1, name.owner.data, name.owner.size);
            buckets_.insert(bucket);
        }
        row->bucket = bucket;
        row->previous = nullptr;
        row->next = bucket->first;
        if (row->next) row->next->previous = row;
        bucket->first = row;
        rows_.insert(row);
        return row;
    }
    void remove(Row* row) {
        (row->previous ? row->previous->next : row->bucket->first) = row->next;
        if (row->next) row->next->previous = row->previous;
        if (!row->bucket->first) {
            buckets_.remove(row->bucket);
            give(row->bucket);
        }
        rows_.remove(row);
        release(row->value);
        give(row);
    }
    Row* first_of(Name name) const {
        Bucket* bucket = find_bucket(name, bucket_hash(name));
        return bucket ? bucket->first : nullptr;
    }
    const Table<Row>& rows() const { return rows_; }
    // All rows in the order of their keys: RocksDB takes them several times faster than in disorder.
    // For a layer that no longer changes: a second call does nothing.
    void sort() {
        if (sorted_.size() == rows_.count()) return;
        sorted_.clear();
        sorted_.reserve(rows_.count());
        for (Row* head : rows_.heads())
            for (Row* row = head; row; row = row->chain) sorted_.push_back(row);
        std::sort(sorted_.begin(), sorted_.end(), is_before);
    }
    const std::vector<Row*>& sorted() const { return sorted_; }

private:
    uint64_t bucket_hash(Name name) const {
        return hash_bytes(name.owner, seed_ + static_cast<uint8_t>(name.kind));
    }
    static bool is(const Bucket& bucket, Name name) {
        return bucket.name_size == name.size() && bucket.name_data[0] == name.kind &&
               Slice{bucket.name_data + 1, name.owner.size} == name.owner;
    }
    Bucket* find_bucket(Name name, uint64_t hash) const {
        return buckets_.find(hash, [&](const Bucket& bucket) { return is(bucket, name); });
    }
    void give(Row* row) { pool_.give(row, sizeof(Row) + row->suffix_size); }
    void give(Bucket* bucket) { pool_.give(bucket, sizeof(Bucket) + bucket->name_size); }
    // Only for what the pool does not free itself; the tables are useless then.
    void give_large() {
        if (!pool_.has_large()) return;
        for (Row* one : rows_.heads())
            while (one) {
                Row* next = one->chain;
                release(one->value);
                give(one);
                one = next;
            }
        for (Bucket* one : buckets_.heads())
            while (one) {
                Bucket* next = one->chain;
                give(one);
                one = next;
            }
    }
    uint64_t seed_;
    Pool pool_;
    Table<Row> rows_;
    Table<Bucket> buckets_;
    std::vector<Row*> sorted_;
};

}  // namespace streams
