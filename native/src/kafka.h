// librdkafka, the client library of Kafka that confluent-kafka has loaded, by its C interface.
//
// Python makes each client, and keeps transactions, errors and callbacks; the core moves records in
// bulk. It learns of a client by librdkafka's own way for that, a plugin that is told of new ones.
#pragma once

#include "rows.h"

namespace streams {

// `rd_kafka_message_t`, as all versions 2 of librdkafka have it.
struct KafkaMessage {
    int32_t error;
    void* topic;
    int32_t partition;
    const void* payload;
    size_t size;
    const void* key;
    size_t key_size;
    int64_t offset;
    void* own;
};

// The functions that the core calls, without their prefix `rd_kafka_`.
struct Kafka {
    int32_t (*conf_interceptor_add_on_new)(void* conf, const char* name,
                                           int32_t (*on_new)(void* client, const void* conf, void* own, char*, size_t),
                                           void* own);
    int (*produce_batch)(void* topic, int32_t partition, int flags, KafkaMessage* messages, int count);
};

constexpr int kCopy = 2;  // RD_KAFKA_MSG_F_COPY: librdkafka copies the value

// Queues the rows of a sorted layer from `next` on, which it advances past those that librdkafka took.
// Returns librdkafka's error for the row at `next`, 0 if all rows are queued.
inline int32_t produce(const Kafka& kafka, const Layer& layer, void* topic, int32_t partition, int64_t& next) {
    constexpr size_t kMost = 500;
    const auto& rows = layer.sorted();
    std::string keys;
    std::vector<KafkaMessage> messages;
    while (static_cast<size_t>(next) < rows.size()) {
        auto first = static_cast<size_t>(next);
        size_t count = std::min(kMost, rows.size() - first);
        keys.clear();
        messages.assign(count, {});
        for (size_t i = 0; i < count; i++) {
            const Row& row = *rows[first + i];
            size_t begin = keys.size();
            Overlay::append_key(keys, row);
            messages[i].key_size = keys.size() - begin;
            if (!row.value) continue;  // no payload: a tombstone
            messages[i].payload = row.value->data;
            messages[i].size = row.value->size;
        }
        const char* key = keys.data();
        for (KafkaMessage& message : messages) {
            message.key = key;
            key += message.key_size;
        }
        kafka.produce_batch(topic, partition, kCopy, messages.data(), static_cast<int>(count));
        for (const KafkaMessage& message : messages) {
            if (message.error) return message.error;
            next++;
        }
    }
    return 0;
}

}  // namespace streams
