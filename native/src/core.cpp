// The C interface of the core, which `streams/native` calls by ctypes.
//
// Functions that return a Python object, and those that are short, are called with the interpreter
// held. The core knows Python only by the functions that it is given (`core_begin`), so one build
// serves every version. An overlay and its folds belong to one thread; a frozen layer may be read
// by a second one.
#include <random>
#include <utility>

#include "deliver.h"
#include "kafka.h"
#include "route.h"

using namespace streams;

namespace {

using Object = void*;

// The functions of Python that make the objects which the core returns, by Python's names.
struct Python {
    Object (*bytes_from)(const char*, intptr_t);  // PyBytes_FromStringAndSize
    Object (*tuple_new)(intptr_t);
    int (*tuple_set)(Object, intptr_t, Object);
    Object (*list_new)(intptr_t);
    int (*list_append)(Object, Object);
    void (*inc_ref)(Object);
    void (*dec_ref)(Object);
} python;
Object none, unknown;

Kafka kafka;
thread_local void* newest_client = nullptr;

int32_t on_new_client(void* client, const void*, void*, char*, size_t) {
    newest_client = client;
    return 0;
}

Object bytes_of(Slice bytes) { return python.bytes_from(bytes.data, static_cast<intptr_t>(bytes.size)); }
Object kept(Object object) {
    python.inc_ref(object);
    return object;
}

// A list in the making. Where memory ends, it is null, and Python raises MemoryError.
class List {
public:
    List() : list_(python.list_new(0)) {}
    void add(Object item) {
        bool added = list_ && item && python.list_append(list_, item) == 0;
        if (item) python.dec_ref(item);
        if (!added && list_) {
            python.dec_ref(list_);
            list_ = nullptr;
        }
    }
    void add_row(Slice key, const Value* value) {
        Object pair = python.tuple_new(2);
        if (pair) {
            python.tuple_set(pair, 0, bytes_of(key));
            python.tuple_set(pair, 1, value ? bytes_of(value->bytes()) : kept(none));
        }
        add(pair);
    }
    Object take() { return list_; }

private:
    Object list_;
};

// The bytes of a text, which becomes empty and keeps little memory.
Object taken(std::string& text) {
    Object bytes = bytes_of(slice(text));
    text.clear();
    if (text.capacity() > (1 << 16)) text.shrink_to_fit();
    return bytes;
}
Slice given(const char* data, int64_t size) { return {data, static_cast<size_t>(size)}; }
std::string text(const char* data, int64_t size) { return {data, static_cast<size_t>(size)}; }
Name name(const char* bucket, int64_t size) {
    return size ? Name{bucket[0], {bucket + 1, static_cast<size_t>(size) - 1}} : Name{'\0', {}};
}

uint64_t secret() {
    std::random_device source;
    return static_cast<uint64_t>(source()) << 32 | source();
}

// An overlay with what is made for it; `route` or `deliver` is set by the fold of its rows.
struct Partition {
    uint64_t seed = secret();
    Overlay rows{seed};
    Route* route = nullptr;
    Deliver* deliver = nullptr;
    ~Partition() {
        delete route;
        delete deliver;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API int32_t core_version() { return 6; }

API void core_begin(const Python* functions, Object none_object, Object unknown_object) {
    python = *functions;
    none = none_object;
    unknown = unknown_object;
}

// Rows ---------------------------------------------------------------------------------------------

API Partition* rows_new() { return new Partition; }
API void rows_free(Partition* of) { delete of; }

// Rows of the live layer, and their bytes: two numbers to read from memory.
API const int64_t* rows_pending(Partition* of) { return &of->rows.pending; }

// Returns bytes, None, or the object that stands for "not known".
API Object rows_get(Partition* of, const char* bucket, int64_t bucket_size, const char* suffix, int64_t suffix_size) {
    Found found = of->rows.read(of->rows.key(name(bucket, bucket_size), given(suffix, suffix_size)));
    if (found.state == Below::present) return bytes_of(found.value->bytes());
    return kept(found.state == Below::absent ? none : unknown);
}

API void rows_put(Partition* of, const char* bucket, int64_t bucket_size, const char* suffix, int64_t suffix_size,
                  const char* value, int64_t value_size) {
    of->rows.put(of->rows.key(name(bucket, bucket_size), given(suffix, suffix_size)),
                 of->rows.value(given(value, value_size)));
}

// `below`: 0 not known, 1 absent, 2 present. Returns 0 if it must be known; then nothing was changed.
API int32_t rows_delete(Partition* of, const char* bucket, int64_t bucket_size, const char* suffix,
                        int64_t suffix_size, int32_t below) {
    return of->rows.remove(of->rows.key(name(bucket, bucket_size), given(suffix, suffix_size)),
                           static_cast<Below>(below));
}

// The (suffix, value or None) of a bucket in the layers, live ones over frozen ones, in no order.
API Object rows_scan(Partition* of, const char* bucket, int64_t bucket_size) {
    Name in = name(bucket, bucket_size);
    List found;
    if (const Layer* frozen = of->rows.frozen())
        for (Row* row = frozen->first_of(in); row; row = row->next)
            if (!of->rows.live()->find(of->rows.key(in, row->suffix()))) found.add_row(row->suffix(), row->value);
    for (Row* row = of->rows.live()->first_of(in); row; row = row->next) found.add_row(row->suffix(), row->value);
    return found.take();
}

API const Layer* rows_live(Partition* of) { return of->rows.live(); }
API const Layer* rows_frozen(Partition* of) { return of->rows.frozen(); }
API Layer* rows_freeze(Partition* of) { return of->rows.freeze(); }
API void rows_thaw(Partition* of) { of->rows.thaw(); }

// The raw keys that are wanted.
API Object rows_wanted(Partition* of) {
    List keys;
    std::string key;
    for (Row* row : of->rows.wanted_rows()) {
        key.clear();
        Overlay::append_key(key, *row);
        keys.add(bytes_of(slice(key)));
    }
    return keys.take();
}
API void rows_supply(Partition* of, const int32_t* sizes, const char* joined, int64_t size) {
    of->rows.supply(sizes, given(joined, size));
}

API int64_t layer_count(const Layer* layer) { return static_cast<int64_t>(layer->rows().count()); }
API void layer_release(Layer* layer) { Overlay::release(layer); }

API void layer_sort(Layer* layer) { layer->sort(); }

// Some (raw key, value or None) of a layer that was sorted, in order; `cursor` begins at 0 and is -1 after the last row.
API Object layer_read_sorted(const Layer* layer, int64_t* cursor, int64_t most) {
    const auto& rows = layer->sorted();
    List found;
    std::string key;
    auto place = static_cast<size_t>(*cursor);
    for (int64_t count = 0; place < rows.size() && count < most; place++, count++) {
        key.clear();
        Overlay::append_key(key, *rows[place]);
        found.add_row(slice(key), rows[place]->value);
    }
    *cursor = place < rows.size() ? static_cast<int64_t>(place) : -1;
    return found.take();
}

// Some rows of a layer in no order, the same way.
API Object layer_read(const Layer* layer, int64_t* cursor, int64_t most) {
    const auto& heads = layer->rows().heads();
    List found;
    std::string key;
    auto place = static_cast<size_t>(*cursor);
    for (int64_t count = 0; place < heads.size() && count < most; place++)
        for (Row* row = heads[place]; row; row = row->chain, count++) {
            key.clear();
            Overlay::append_key(key, *row);
            found.add_row(slice(key), row->value);
        }
    *cursor = place < heads.size() ? static_cast<int64_t>(place) : -1;
    return found.take();
}

// Kafka --------------------------------------------------------------------------------------------

API void kafka_begin(const Kafka* functions) { kafka = *functions; }

// What librdkafka calls for each client that is to load the core as a plugin, when its configuration is made.
API int32_t conf_init(void* conf, void**, char*, size_t) {
    return kafka.conf_interceptor_add_on_new(conf, "streams", on_new_client, nullptr);
}

// The client (`rd_kafka_t`) that this thread made last, null if there is none; it is returned once.
API void* kafka_newest() {
    void* client = newest_client;
    newest_client = nullptr;
    return client;
}

// Called without the interpreter.
API int32_t layer_produce(const Layer* layer, void* topic, int32_t partition, int64_t* next) {
    return produce(kafka, *layer, topic, partition, *next);
}

// Folds --------------------------------------------------------------------------------------------

// Constants are joined strings with the place where each ends, and numbers.
API void route_begin(Partition* of, const char* joined, const int64_t* ends, const int64_t* numbers) {
    auto part = [&](int i) { return text(joined + (i ? ends[i - 1] : 0), ends[i] - (i ? ends[i - 1] : 0)); };
    auto partition = static_cast<uint32_t>(numbers[0]);
    RouteConstants constants{part(0), part(1), part(2), part(3), part(4), partition, static_cast<uint32_t>(numbers[1])};
    std::string routed = part(5);
    Packer packer(slice(routed), partition, numbers[2], numbers[3], numbers[4], numbers[5]);
    PublishConstants publish{part(6), part(7), part(8), numbers[6], numbers[7]};
    delete of->route;
    of->route = new Route(of->rows, std::move(constants), std::move(packer), std::move(publish), of->seed,
                          static_cast<size_t>(numbers[8]), static_cast<size_t>(numbers[9]));
}

API void deliver_begin(Partition* of, const char* joined, const int64_t* ends, const int64_t* numbers) {
    auto part = [&](int i) { return text(joined + (i ? ends[i - 1] : 0), ends[i] - (i ? ends[i - 1] : 0)); };
    delete of->deliver;
    of->deliver = new Deliver(of->rows, DeliverConstants{part(0), part(1), part(2), part(3), numbers[2],
                                                         static_cast<uint32_t>(numbers[0]),
                                                         static_cast<uint32_t>(numbers[1]), numbers[3], numbers[4], numbers[5]});
}

// Both set `next` to the first record that is not folded, and `others` to the number of records from
// there on that only Python can fold. Called without the interpreter if the chunk is long.
API int32_t route_run(Partition* of, const Chunk* chunk, int64_t* next, int64_t* others, int64_t most,
                      int32_t uncovered, int64_t oldest) {
    Ended ended = of->route->run(*chunk, *next, most, uncovered, oldest);
    if (ended != Ended::missing) of->rows.forget();
    *others = ended == Ended::other;
    while (*others && *next + *others < chunk->count && !of->route->maybe_plain(chunk->value(*next + *others)))
        ++*others;
    return static_cast<int32_t>(ended);
}

API int32_t deliver_run(Partition* of, const Chunk* chunk, int64_t* next, int64_t* others, int64_t most,
                        int32_t options, int32_t collect) {
    Ended ended = of->deliver->run(*chunk, *next, most, options, collect);
    if (ended != Ended::missing) of->rows.forget();
    *others = ended == Ended::other;
    while (*others && *next + *others < chunk->count && !of->deliver->maybe_plain(chunk->value(*next + *others)))
        ++*others;
    return static_cast<int32_t>(ended);
}

// What the last runs have to tell Python.
API void route_counted(Partition* of, int64_t* messages, int64_t* duplicates) {
    Publisher& publisher = of->route->publisher;
    *messages = std::exchange(publisher.messages, 0);
    *duplicates = std::exchange(publisher.duplicates, 0);
}
API int64_t deliver_delivered(Partition* of) {
    int64_t count = of->deliver->delivered;
    of->deliver->delivered = 0;
    return count;
}
API Object deliver_receivers(Partition* of) { return taken(of->deliver->receivers); }

// The cache of groups, for what Python folds.

// `queues` has an id and a NUL for each of `count` members, in order; `targets` has their partitions.
API void fans_keep(Partition* of, const char* group, int64_t size, const int32_t* targets, const char* queues,
                   int64_t count) {
    Fan fan;
    for (int64_t i = 0; i < count; i++) {
        Slice queue{queues, std::strlen(queues)};
        fan.add(static_cast<uint32_t>(targets[i]), queue);
        queues += queue.size + 1;
    }
    of->route->publisher.fans.keep(given(group, size), std::move(fan));
}
API void fans_add(Partition* of, const char* group, int64_t size, int64_t target, const char* queue,
                  int64_t queue_size) {
    of->route->publisher.fans.add(given(group, size), static_cast<uint32_t>(target), given(queue, queue_size));
}
API void fans_remove(Partition* of, const char* group, int64_t size, int64_t target, const char* queue,
                     int64_t queue_size) {
    of->route->publisher.fans.remove(given(group, size), static_cast<uint32_t>(target), given(queue, queue_size));
}
API void fans_drop(Partition* of, const char* group, int64_t size) {
    of->route->publisher.fans.forget(given(group, size));
}
// Partition, number of ids, size of the column, column of each; None if the group is not cached. All members
// but one if `but` is given.
API Object fans_columns(Partition* of, const char* group, int64_t size, const char* but, int64_t but_size) {
    Fan* fan = of->route->publisher.fans.get(given(group, size));
    if (!fan) return kept(none);
    Slice without = given(but, but_size);
    std::string found;
    fan->each(but ? &without : nullptr, [&](uint32_t target, Slice column, size_t count) {
        append_number(found, target, 4);
        append_number(found, count, 4);
        append_number(found, column.size, 4);
        append(found, column);
    });
    return bytes_of(slice(found));
}

// The packer: these return how many records are finished.
API int64_t packer_change(Partition* of, int64_t target, int64_t offset, int32_t bound, const char* group,
                          int64_t group_size, const char* queue, int64_t queue_size, const char* session,
                          int64_t session_size) {
    of->route->packer.change(static_cast<uint32_t>(target), offset, bound, given(group, group_size),
                             given(queue, queue_size), given(session, session_size));
    return static_cast<int64_t>(of->route->packer.finished.size());
}
API int64_t packer_delivery(Partition* of, int64_t target, int64_t offset, int64_t part, const char* message,
                            int64_t message_size, const char* column, int64_t column_size, int64_t count) {
    of->route->packer.delivery(static_cast<uint32_t>(target), offset, part, given(message, message_size),
                               given(column, column_size), count);
    return static_cast<int64_t>(of->route->packer.finished.size());
}
API int64_t packer_finished(Partition* of) { return static_cast<int64_t>(of->route->packer.finished.size()); }
API int64_t packer_flush(Partition* of) {
    of->route->packer.flush();
    return static_cast<int64_t>(of->route->packer.finished.size());
}
// Three counters, then (target, size of the key, size of the value, key, value) of each finished record.
API Object packer_take(Partition* of) {
    Packer& packer = of->route->packer;
    std::string found;
    append_number(found, static_cast<uint64_t>(packer.binds), 8);
    append_number(found, static_cast<uint64_t>(packer.unbinds), 8);
    append_number(found, static_cast<uint64_t>(packer.deliveries), 8);
    packer.binds = packer.unbinds = packer.deliveries = 0;
    for (const PackedRecord& record : packer.finished) {
        append_number(found, record.target, 4);
        append_number(found, record.key.size(), 4);
        append_number(found, record.value.size(), 4);
        found += record.key;
        found += record.value;
    }
    packer.finished.clear();
    return bytes_of(slice(found));
}
