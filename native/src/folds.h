// What both folds share: the records of a chunk, and how a run over them ends.
#pragma once

#include "packer.h"
#include "rows.h"

namespace streams {

// Keys and values are joined; `..._ends` say where each ends. A missing one is empty, which no fold takes.
struct Chunk {
    const char* keys;
    const int64_t* key_ends;
    const char* values;
    const int64_t* value_ends;
    const int64_t* offsets;
    const int64_t* times;
    int64_t count;

    Slice key(int64_t i) const { return part(keys, key_ends, i); }
    Slice value(int64_t i) const { return part(values, value_ends, i); }

private:
    static Slice part(const char* joined, const int64_t* ends, int64_t i) {
        int64_t begin = i ? ends[i - 1] : 0;
        return {joined + begin, static_cast<size_t>(ends[i] - begin)};
    }
};

enum class Ended : int32_t {
    paused = 0,   // as many records are folded as were asked for
    other = 1,    // the next record is not plain: Python must fold it
    missing = 2,  // rows must be supplied before the next record
};

// What became of one record.
enum class Step { done, other, missing };

// Rows that are looked up in the database at a time: about a millisecond.
constexpr size_t kMostWanted = 1000;

constexpr char kWatermarks = 'w';

}  // namespace streams
