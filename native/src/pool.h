// Memory for many small objects that end together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

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

// Takes memory in blocks, and frees them all at once: to free objects one by one takes longer than
// anything else that is done with them. What is given back before is taken again for its own size.
class Pool {
public:
    Pool() = default;
    Pool(const Pool&) = delete;
    ~Pool() {
        for (char* block : blocks_) std::free(block);
    }
    void* take(size_t size) {
        size_t kind = kind_of(size);
        if (kind >= kKinds) {
            large_++;
            return allocate(size);
        }
        if (void* free = free_[kind]) {
            free_[kind] = *static_cast<void**>(free);
            return free;
        }
        if (kind * kStep > left_) grow();
        left_ -= kind * kStep;
        return blocks_.back() + left_;
    }
    void give(void* memory, size_t size) {
        size_t kind = kind_of(size);
        if (kind >= kKinds) {
            large_--;
            std::free(memory);
        } else {
            *static_cast<void**>(memory) = free_[kind];
            free_[kind] = memory;
        }
    }
    // Whether there are objects that must be given back before `clear`.
    bool has_large() const { return large_ != 0; }
    // Frees the rest; keeps a block for what comes next, if it is small.
    void clear() {
        size_t keep = size_ && size_ <= kKept;
        if (keep) std::swap(blocks_.front(), blocks_.back());
        for (size_t i = keep; i < blocks_.size(); i++) std::free(blocks_[i]);
        blocks_.resize(keep);
        if (!keep) size_ = 0;
        left_ = size_;
        std::fill(std::begin(free_), std::end(free_), nullptr);
    }

private:
    static constexpr size_t kStep = 16;  // alignment, and the difference of two sizes
#ifdef __SANITIZE_ADDRESS__
    static constexpr size_t kKinds = 1;  // the sanitizer must know each object
#else
    static constexpr size_t kKinds = 65;  // objects of up to 1 KiB; others are large
#endif
    static constexpr size_t kFirst = 4 << 10, kKept = 64 << 10, kMost = 256 << 10;  // bytes of a block

    static size_t kind_of(size_t size) { return (size + kStep - 1) / kStep; }
    void grow() {
        left_ = size_ = size_ ? std::min(2 * size_, kMost) : kFirst;
        blocks_.push_back(static_cast<char*>(allocate(size_)));
    }
    std::vector<char*> blocks_;
    void* free_[kKinds] = {};  // chains of what was given back, by size
    size_t left_ = 0;          // bytes of the last block that are free; it is filled from its end
    size_t size_ = 0;          // bytes of the last block
    size_t large_ = 0;
};

}  // namespace streams
