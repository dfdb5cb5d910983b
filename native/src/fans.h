// A cache of the members of groups that had a message lately; `streams/folds/fans.py` is the definition.
#pragma once

#include "packer.h"
#include "rows.h"

namespace streams {

// The members of one group, by the partition of their queues.
class Fan {
public:
    // Ids in order, and the same as a column of Routed, unless they changed since it was joined.
    struct Target {
        uint32_t partition;
        std::vector<std::string> queues;
        std::string column;
    };
    size_t size = 0;

    // Returns false if it is a member already.
    bool add(uint32_t partition, Slice queue) {
        Target* target = find(partition);
        if (!target) {
            targets_.push_back({partition, {}, {}});
            target = &targets_.back();
        }
        auto place = place_of(*target, queue);
        if (place != target->queues.end() && slice(*place) == queue) return false;
        target->queues.insert(place, {queue.data, queue.size});
        target->column.clear();
        size++;
        return true;
    }
    // Returns false if it is no member.
    bool remove(uint32_t partition, Slice queue) {
        Target* target = find(partition);
        if (!target) return false;
        auto place = place_of(*target, queue);
        if (place == target->queues.end() || slice(*place) != queue) return false;
        target->queues.erase(place);
        target->column.clear();
        if (target->queues.empty()) targets_.erase(targets_.begin() + (target - targets_.data()));
        size--;
        return true;
    }
    // Calls `take` with partition, column and number of ids of the members in each partition, without `but`.
    template <typename Take>
    void each(const Slice* but, Take take) {
        for (Target& target : targets_) {
            size_t count = target.queues.size();
            if (target.column.empty()) join(target.column, target.queues, nullptr);
            if (but) {
                auto place = place_of(target, *but);
                if (place != target.queues.end() && slice(*place) == *but) {
                    if (count == 1) continue;
                    std::string others;
                    join(others, target.queues, &*place);
                    take(target.partition, slice(others), count - 1);
                    continue;
                }
            }
            take(target.partition, slice(target.column), count);
        }
    }

private:
    static std::vector<std::string>::iterator place_of(Target& target, Slice queue) {
        return std::lower_bound(target.queues.begin(), target.queues.end(), queue,
                                [](const std::string& one, Slice other) { return compare(slice(one), other) < 0; });
    }
    static void join(std::string& column, const std::vector<std::string>& queues, const std::string* but) {
        for (const std::string& queue : queues) {
            if (&queue == but) continue;
            column += queue;
            column.push_back('\0');
        }
    }
    Target* find(uint32_t partition) {
        for (Target& target : targets_)
            if (target.partition == partition) return &target;
        return nullptr;
    }
    std::vector<Target> targets_;  // in the order in which they got a member
};

// The cached groups of one partition. When they have more than `most` members, and one more for each
// group, the least recently used ones are dropped.
class Fans {
public:
    Fans(uint64_t seed, size_t largest, size_t most) : seed_(seed), largest_(largest), most_(most) {
        used_.before = used_.after = &used_;
    }
    Fans(const Fans&) = delete;
    ~Fans() {
        while (used_.after != &used_) drop(static_cast<Group*>(used_.after));
    }
    // A group's fan, now the most recently used; null if it is not cached.
    Fan* get(Slice name) {
        Group* group = find(name);
        if (!group) return nullptr;
        unlink(group);
        append(group);
        return &group->fan;
    }
    void keep(Slice name, Fan fan) {
        if (find(name)) return;
        auto* group = new Group;
        group->hash = hash_bytes(name, seed_);
        group->name.assign(name.data, name.size);
        group->fan = std::move(fan);
        groups_.insert(group);
        append(group);
        weight_ += group->fan.size + 1;
        shrink();
    }
    void add(Slice name, uint32_t partition, Slice queue) {
        Group* group = groups_.count() ? find(name) : nullptr;
        if (!group || !group->fan.add(partition, queue)) return;
        weight_++;
        if (group->fan.size > largest_) drop(group);
        shrink();
    }
    void remove(Slice name, uint32_t partition, Slice queue) {
        Group* group = groups_.count() ? find(name) : nullptr;
        if (group && group->fan.remove(partition, queue)) weight_--;
    }

    void forget(Slice name) {
        Group* group = groups_.count() ? find(name) : nullptr;
        if (group) drop(group);
    }

private:
    struct Link {
        Link *before, *after;
    };
    struct Group : Link {
        Group* chain;
        uint64_t hash;
        std::string name;
        Fan fan;
    };
    Group* find(Slice name) const {
        return groups_.find(hash_bytes(name, seed_), [&](const Group& group) { return slice(group.name) == name; });
    }
    void append(Group* group) {
        group->before = used_.before;
        group->after = &used_;
        used_.before->after = group;
        used_.before = group;
    }
    static void unlink(Group* group) {
        group->before->after = group->after;
        group->after->before = group->before;
    }
    void shrink() {
        while (weight_ > most_) drop(static_cast<Group*>(used_.after));
    }
    void drop(Group* group) {
        unlink(group);
        groups_.remove(group);
        weight_ -= group->fan.size + 1;
        delete group;
    }
    uint64_t seed_;
    size_t largest_, most_, weight_ = 0;
    Table<Group> groups_;
    Link used_;  // a ring of all groups, the least recently used first
};

}  // namespace streams
