// The rows of one table partition: two layers in memory over a database that Python reads.
//
// It does what `streams/engine/overlay.py` does, which is the definition. The core cannot read the
// database: a row that no layer holds is unknown until Python has looked it up (`want`, `supply`).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "bytes.h"

namespace streams {

// Memory, or the end of the process: what was not committed is folded again elsewhere.
inline void* allocate(size_t size) {
    void* memory = std::malloc(size);
    if (!memory) {
        std::fprintf(stderr, "native core: no memory for %zu bytes\n", size);
        std::abort();
    }
    return memory;
}

// The value of one or several rows. All of them are in one layer, so the count needs no lock.
struct Value {
    uint32_t users;
    uint32_t size;
    char data[1];

    static Value* make(Slice bytes) {
        auto* value = static_cast<Value*>(allocate(sizeof(Value) + bytes.size));
        value->users = 1;
        value->size = static_cast<uint32_t>(bytes.size);
        if (bytes.size) std::memcpy(value->data, bytes.data, bytes.size);
        return value;
    }
    static void release(Value* value) {
        if (value && --value->users == 0) std::free(value);
    }
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
    std::string name;
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
    int order = one->bucket == other->bucket ? 0 : compare(slice(one->bucket->name), slice(other->bucket->name));
    return (order ? order : compare(one->suffix(), other->suffix())) < 0;
}

// Rows by bucket and suffix. Shared by the overlay and by the checkpoint that saves them.
class Layer {
public:
    std::atomic<int> users{1};

    explicit Layer(uint64_t seed) : seed_(seed) {}
    Layer(const Layer&) = delete;
    ~Layer() { clear(); }

    void clear() {
        if (!rows_.count()) return;
        for (Row* one : rows_.heads())
            while (one) {
                Row* next = one->chain;
                Value::release(one->value);
                std::free(one);
                one = next;
            }
        for (Bucket* one : buckets_.heads())
            while (one) {
                Bucket* next = one->chain;
                delete one;
                one = next;
            }
        rows_ = {};
        buckets_ = {};
        sorted_.clear();
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
        auto* row = static_cast<Row*>(allocate(sizeof(Row) + suffix.size));
        row->hash = key.hash;
        row->value = value;
        row->below = below;
        row->suffix_size = static_cast<uint32_t>(suffix.size);
        if (suffix.size) std::memcpy(row->suffix_data, suffix.data, suffix.size);
        Bucket* bucket = find_bucket(key.bucket, key.bucket_hash);
        if (!bucket) {
            bucket = new Bucket{nullptr, key.bucket_hash, nullptr, std::string(1, key.bucket.kind)};
            append(bucket->name, key.bucket.owner);
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
            delete row->bucket;
        }
        rows_.remove(row);
        Value::release(row->value);
        std::free(row);
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
        return bucket.name.size() == name.size() && bucket.name[0] == name.kind &&
               Slice{bucket.name.data() + 1, name.owner.size} == name.owner;
    }
    Bucket* find_bucket(Name name, uint64_t hash) const {
        return buckets_.find(hash, [&](const Bucket& bucket) { return is(bucket, name); });
    }
    uint64_t seed_;
    Table<Row> rows_;
    Table<Bucket> buckets_;
    std::vector<Row*> sorted_;
};

// What reading a row found; `value` only if it is present.
struct Found {
    Below state;
    Value* value;
    bool is(Slice bytes) const { return state == Below::present && value->bytes() == bytes; }
};

class Overlay {
public:
    int64_t pending = 0;        // rows of the live layer
    int64_t pending_bytes = 0;  // bytes of their keys and values

    explicit Overlay(uint64_t seed) : seed_(seed), live_(new Layer(seed)), fetched_(seed) {}
    Overlay(const Overlay&) = delete;
    ~Overlay() {
        release(live_);
        thaw();
    }
    static void release(Layer* layer) {
        if (layer && layer->users.fetch_sub(1) == 1) delete layer;
    }

    // The key of a row; all layers have the same hashes.
    Key key(Name bucket, Slice suffix) const { return live_->key(bucket, suffix); }

    Found read(const Key& key) const {
        if (Row* row = live_->find(key)) return found(row);
        return read_below(key);
    }
    // Looks at what the live layer covers.
    Found read_below(const Key& key) const {
        if (frozen_)
            if (Row* row = frozen_->find(key)) return found(row);
        Row* row = fetched_.find(key);
        return row && row->below != Below::unknown ? found(row) : Found{Below::unknown, nullptr};
    }
    // Takes over one use of the value. `below` is what the caller knows.
    void put(const Key& key, Value* value, Below below = Below::unknown) {
        if (Row* row = live_->find(key)) {
            Value::release(row->value);
            row->value = value;
            return;
        }
        live_->add(key, value, below);
        pending++;
        pending_bytes += key.bucket.size() + key.suffix.size + value->size;
    }
    // Returns false, with nothing changed, if it must be known whether the row exists below.
    bool remove(const Key& key, Below below = Below::unknown) {
        Row* row = live_->find(key);
        if (!row) {
            live_->add(key, nullptr, below);
            pending++;
            pending_bytes += key.bucket.size() + key.suffix.size;
            return true;
        }
        if (!row->value) return true;
        if (row->below == Below::unknown) row->below = read_below(key).state;
        if (row->below == Below::unknown) row->below = below;
        if (row->below == Below::unknown) return false;
        if (row->below == Below::absent) {  // it leaves no trace
            pending--;
            pending_bytes -= key.bucket.size() + key.suffix.size + row->value->size;
            live_->remove(row);
        } else {
            Value::release(row->value);
            row->value = nullptr;
        }
        return true;
    }
    // Whether `remove` would return false.
    bool remove_needs(const Key& key) const {
        Row* row = live_->find(key);
        return row && row->value && row->below == Below::unknown &&
               read_below(key).state == Below::unknown;
    }

    // Asks Python for a row of the database.
    void want(const Key& key) {
        if (!fetched_.find(key))
            wanted_.push_back(fetched_.add(key, nullptr, Below::unknown));
    }
    size_t wanted() const { return wanted_.size(); }
    const std::vector<Row*>& wanted_rows() const { return wanted_; }
    // Takes the values of the rows that are wanted, in order; a size of -1 stands for no row.
    void supply(const int32_t* sizes, Slice joined) {
        size_t place = 0;
        for (Row* row : wanted_) {
            int32_t size = *sizes++;
            row->below = size < 0 ? Below::absent : Below::present;
            if (size < 0) continue;
            if (static_cast<size_t>(size) > joined.size - place) break;  // never: Python counts them
            row->value = Value::make({joined.data + place, static_cast<size_t>(size)});
            place += static_cast<size_t>(size);
        }
        wanted_.clear();
    }
    // Forgets what was supplied: with the next checkpoint it may no longer be true.
    void forget() {
        wanted_.clear();
        fetched_.clear();
    }

    bool is_frozen() const { return frozen_ != nullptr; }
    Layer* freeze() {
        frozen_ = live_;
        frozen_->users++;
        live_ = new Layer(seed_);
        pending = pending_bytes = 0;
        return frozen_;
    }
    void thaw() {
        release(frozen_);
        frozen_ = nullptr;
        forget();
    }
    const Layer* live() const { return live_; }
    const Layer* frozen() const { return frozen_; }

    static void append_key(std::string& target, const Row& row) {
        target += row.bucket->name;
        target.push_back('\0');
        append(target, row.suffix());
    }

private:
    static Found found(const Row* row) {
        return {row->value ? Below::present : Below::absent, row->value};
    }
    uint64_t seed_;
    Layer* live_;
    Layer* frozen_ = nullptr;
    Layer fetched_;
    std::vector<Row*> wanted_;
};

}  // namespace streams
