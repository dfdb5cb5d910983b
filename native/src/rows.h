// The rows of one table partition: two layers in memory over a database that Python reads.
//
// It does what `streams/engine/overlay.py` does, which is the definition. The core cannot read the
// database: a row that no layer holds is unknown until Python has looked it up (`want`, `supply`).
#pragma once

#include "layer.h"

namespace streams {

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
    // A value for `put`, with one use.
    Value* value(Slice bytes) { return live_->value(bytes); }
    // Takes over one use of the value. `below` is what the caller knows.
    void put(const Key& key, Value* value, Below below = Below::unknown) {
        if (Row* row = live_->find(key)) {
            live_->release(row->value);
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
            live_->release(row->value);
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
            row->value = fetched_.value({joined.data + place, static_cast<size_t>(size)});
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
        append(target, row.bucket->name());
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
