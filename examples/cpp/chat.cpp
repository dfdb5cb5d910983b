// A C++ client that reads and writes Kafka directly, with librdkafka and Avro C only.
//
//     chat SCHEMAS BROKERS PREFIX GROUP QUEUE TEXT
//
// binds QUEUE to GROUP, publishes TEXT to GROUP, waits for the delivery in queue-events,
// prints it, and acknowledges it. SCHEMAS is the folder with *.avsc and HEADERS.txt; PREFIX is
// the prefix of the topics ("" or "namespace."). The wire format is Avro single-object
// encoding: ten bytes that identify the schema (HEADERS.txt), then the Avro body.
//
// Build: g++ -std=c++17 chat.cpp -o chat -lrdkafka++ -lrdkafka -lavro
// (Debian: librdkafka-dev libavro-dev)

#include <avro.h>
#include <librdkafka/rdkafkacpp.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int64_t kSeqsPerRecord = 4096;  // a delivery's seq: offset * this + its place, from 1

int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

void check(int avro_result) {
  if (avro_result) throw std::runtime_error(avro_strerror());
}

// One record type: its schema and the header bytes of its records.
class Type {
 public:
  Type(const std::string& folder, const std::string& name) : name_(name) {
    std::ifstream file(folder + "/" + name + ".avsc");
    std::stringstream json;
    json << file.rdbuf();
    const std::string text = json.str();
    check(avro_schema_from_json_length(text.data(), text.size(), &schema_));
    class_ = avro_generic_class_from_schema(schema_);

    std::ifstream headers(folder + "/HEADERS.txt");
    for (std::string type, hex; headers >> type >> hex;) {
      if (type != name) continue;
      for (size_t i = 0; i < hex.size(); i += 2)
        header_.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    if (header_.size() != 10) throw std::runtime_error("no header of " + name);
  }
  ~Type() {
    avro_value_iface_decref(class_);
    avro_schema_decref(schema_);
  }
  Type(const Type&) = delete;
  Type& operator=(const Type&) = delete;

  const std::string& name() const { return name_; }
  const std::string& header() const { return header_; }
  avro_value_iface_t* iface() const { return class_; }

 private:
  std::string name_, header_;
  avro_schema_t schema_ = nullptr;
  avro_value_iface_t* class_ = nullptr;
};

// One record, with access to fields by name.
class Record {
 public:
  explicit Record(const Type& type) : type_(type) {
    check(avro_generic_value_new(type.iface(), &value_));
  }
  ~Record() { avro_value_decref(&value_); }
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  avro_value_t field(const char* name) const {
    avro_value_t found;
    check(avro_value_get_by_name(const_cast<avro_value_t*>(&value_), name, &found, nullptr));
    return found;
  }
  void text(const char* name, const std::string& text) {
    avro_value_t f = field(name);
    check(avro_value_set_string_len(&f, text.c_str(), text.size() + 1));
  }
  void bytes(const char* name, const std::string& bytes) {
    avro_value_t f = field(name);
    check(avro_value_set_bytes(&f, const_cast<char*>(bytes.data()), bytes.size()));
  }
  void number(const char* name, int64_t number) {
    avro_value_t f = field(name);
    check(avro_value_get_type(&f) == AVRO_INT32 ? avro_value_set_int(&f, int32_t(number))
                                                : avro_value_set_long(&f, number));
  }
  void yes_no(const char* name, bool yes) {
    avro_value_t f = field(name);
    check(avro_value_set_boolean(&f, yes));
  }
  void null(const char* name) {
    avro_value_t f = field(name), branch;
    check(avro_value_set_branch(&f, 0, &branch));
    check(avro_value_set_null(&branch));
  }
  void optional_number(const char* name, int64_t number) {
    avro_value_t f = field(name), branch;
    check(avro_value_set_branch(&f, 1, &branch));
    check(avro_value_set_long(&branch, number));
  }

  std::string encoded() const {
    size_t size = 0;
    check(avro_value_sizeof(const_cast<avro_value_t*>(&value_), &size));
    std::string out = type_.header() + std::string(size, '\0');
    avro_writer_t writer = avro_writer_memory(&out[10], int64_t(size));
    const int result = avro_value_write(writer, const_cast<avro_value_t*>(&value_));
    avro_writer_free(writer);
    check(result);
    return out;
  }
  // False if `data` is not of this type.
  bool decode(const char* data, size_t size) {
    if (size < 10 || std::memcmp(data, type_.header().data(), 10) != 0) return false;
    avro_reader_t reader = avro_reader_memory(data + 10, int64_t(size - 10));
    const int result = avro_value_read(reader, &value_);
    avro_reader_free(reader);
    check(result);
    return true;
  }

 private:
  const Type& type_;
  avro_value_t value_{};
};

std::string bytes_of(avro_value_t value) {
  const void* data = nullptr;
  size_t size = 0;
  if (avro_value_get_type(&value) == AVRO_STRING) {
    const char* text = nullptr;
    check(avro_value_get_string(&value, &text, &size));
    return std::string(text, size - 1);
  }
  check(avro_value_get_bytes(&value, &data, &size));
  return std::string(static_cast<const char*>(data), size);
}

std::vector<std::string> items(avro_value_t array) {
  size_t count = 0;
  check(avro_value_get_size(&array, &count));
  std::vector<std::string> found;
  for (size_t i = 0; i < count; ++i) {
    avro_value_t item;
    check(avro_value_get_by_index(&array, i, &item, nullptr));
    found.push_back(bytes_of(item));
  }
  return found;
}

class Confirmations : public RdKafka::DeliveryReportCb {
 public:
  void dr_cb(RdKafka::Message& message) override {
    if (message.err()) throw std::runtime_error("not confirmed: " + message.errstr());
    ++confirmed;
  }
  int confirmed = 0;
};

class Events {
 public:
  Events(const std::string& brokers) {
    std::unique_ptr<RdKafka::Conf> conf(RdKafka::Conf::create(RdKafka::Conf::CONF_GLOBAL));
    std::string why;
    // The partitioner is part of the contract: keys must go where Kafka's Java client puts them.
    const std::map<std::string, std::string> settings = {{"bootstrap.servers", brokers},
                                                         {"enable.idempotence", "true"},
                                                         {"partitioner", "murmur2_random"}};
    for (const auto& [name, value] : settings)
      if (conf->set(name, value, why) != RdKafka::Conf::CONF_OK) throw std::runtime_error(why);
    conf->set("dr_cb", &confirmations_, why);
    producer_.reset(RdKafka::Producer::create(conf.get(), why));
    if (!producer_) throw std::runtime_error(why);
  }
  // Returns once Kafka has the record.
  void send(const std::string& topic, const std::string& key, const Type& type,
            const Record& record) {
    const std::string value = record.encoded();
    RdKafka::Headers* headers = RdKafka::Headers::create();
    headers->add("type", type.name());
    const int before = confirmations_.confirmed;
    const auto error = producer_->produce(
        topic, RdKafka::Topic::PARTITION_UA, RdKafka::Producer::RK_MSG_COPY,
        const_cast<char*>(value.data()), value.size(), key.data(), key.size(), 0, headers, nullptr);
    if (error != RdKafka::ERR_NO_ERROR) throw std::runtime_error(RdKafka::err2str(error));
    producer_->flush(30'000);
    if (confirmations_.confirmed != before + 1) throw std::runtime_error("not confirmed in time");
  }

 private:
  Confirmations confirmations_;
  std::unique_ptr<RdKafka::Producer> producer_;
};

// Reads all partitions of a topic, starting at their present ends.
class Tail {
 public:
  Tail(const std::string& brokers, const std::string& topic) {
    std::unique_ptr<RdKafka::Conf> conf(RdKafka::Conf::create(RdKafka::Conf::CONF_GLOBAL));
    std::string why;
    conf->set("bootstrap.servers", brokers, why);
    conf->set("group.id", "chat-example", why);
    conf->set("enable.auto.commit", "false", why);
    consumer_.reset(RdKafka::KafkaConsumer::create(conf.get(), why));
    if (!consumer_) throw std::runtime_error(why);
    std::unique_ptr<RdKafka::Topic> handle(
        RdKafka::Topic::create(consumer_.get(), topic, nullptr, why));
    RdKafka::Metadata* raw = nullptr;
    if (consumer_->metadata(false, handle.get(), &raw, 30'000) != RdKafka::ERR_NO_ERROR)
      throw std::runtime_error("no metadata of " + topic);
    std::unique_ptr<RdKafka::Metadata> metadata(raw);
    std::vector<RdKafka::TopicPartition*> partitions;
    for (const auto* partition : *metadata->topics()->front()->partitions()) {
      int64_t low = 0, high = 0;
      consumer_->query_watermark_offsets(topic, partition->id(), &low, &high, 30'000);
      partitions.push_back(RdKafka::TopicPartition::create(topic, partition->id(), high));
    }
    consumer_->assign(partitions);
    RdKafka::TopicPartition::destroy(partitions);
  }
  ~Tail() { consumer_->close(); }
  std::unique_ptr<RdKafka::Message> next(int timeout_ms) {
    return std::unique_ptr<RdKafka::Message>(consumer_->consume(timeout_ms));
  }

 private:
  std::unique_ptr<RdKafka::KafkaConsumer> consumer_;
};

// Splits a column of ids, each followed by a NUL.
std::vector<std::string> ids(const std::string& joined) {
  std::vector<std::string> found;
  for (size_t begin = 0; begin < joined.size();) {
    const size_t end = joined.find('\0', begin);
    found.push_back(joined.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

int run(const std::vector<std::string>& arguments) {
  const std::string &schemas = arguments[0], &brokers = arguments[1], &prefix = arguments[2],
                    &group = arguments[3], &queue = arguments[4], &text = arguments[5];
  const Type bind_type(schemas, "Bind"), message_type(schemas, "Message"),
      routed_type(schemas, "Routed"), ack_type(schemas, "Ack");
  Tail tail(brokers, prefix + "queue-events");
  Events events(brokers);

  Record bind(bind_type);
  bind.text("group", group);
  bind.text("queue", queue);
  bind.null("session");
  bind.number("at", now_ms());
  bind.null("origin");
  bind.null("replaces");
  events.send(prefix + "group-events", group, bind_type, bind);

  const std::string id = "cpp-" + std::to_string(now_ms());
  Record message(message_type);
  message.text("id", id);
  message.text("group", group);
  message.text("sender", queue);
  message.text("kind", "text");
  message.bytes("body", text);
  message.number("at", now_ms());
  message.null("expires_at");
  message.yes_no("persistent", true);
  message.yes_no("echo", true);
  message.yes_no("receipt", false);
  message.number("priority", 4);
  message.null("origin");
  events.send(prefix + "group-events", group, message_type, message);

  const int64_t deadline = now_ms() + 60'000;
  while (now_ms() < deadline) {
    const auto record = tail.next(500);
    if (record->err() != RdKafka::ERR_NO_ERROR) continue;
    Record routed(routed_type);
    if (!routed.decode(static_cast<const char*>(record->payload()), record->len())) continue;
    const auto messages = items(routed.field("delivery_messages"));
    const auto receivers = items(routed.field("delivery_queues"));
    int64_t seq = record->offset() * kSeqsPerRecord;
    for (size_t i = 0; i < messages.size(); ++i) {
      for (const std::string& receiver : ids(receivers[i])) {
        ++seq;
        if (receiver != queue) continue;
        Record delivered(message_type);
        if (!delivered.decode(messages[i].data(), messages[i].size())) continue;
        if (bytes_of(delivered.field("id")) != id) continue;
        std::cout << "seq " << seq << " from " << bytes_of(delivered.field("group")) << ": "
                  << bytes_of(delivered.field("body")) << std::endl;

        Record ack(ack_type);
        ack.text("queue", queue);
        ack.optional_number("upto", seq);
        ack.number("at", now_ms());
        events.send(prefix + "queue-events", queue, ack_type, ack);
        return 0;
      }
    }
  }
  std::cerr << "chat: the message did not come within a minute" << std::endl;
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "usage: chat SCHEMAS BROKERS PREFIX GROUP QUEUE TEXT" << std::endl;
    return 2;
  }
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << "chat: " << error.what() << std::endl;
    return 1;
  }
}
