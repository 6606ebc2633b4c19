// simdjson's On-Demand as a careful user would write it for this schema, for benchmark_json_parser --simdjson: a typed
// read of name, value, type, timestamp and tags. Keys of tags are not checked for repetition, what stands behind the
// document is not looked at, and a value's digits are not kept. scripts/simdjson.sh builds it.
//
// It reads commands on standard input and answers each with a line on standard output:
//   P BYTES\n<body>   parses the body: "ok METRICS", or "error WHY"
//   C                 forgets the bodies to walk through: "ok 0"
//   L BYTES\n<body>   adds a body to them: "ok 0"
//   T WALKS           walks through all of them WALKS times: "ok NANOSECONDS", or "error WHY"

#include <simdjson.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kBodyBytesMax = 64U << 20U;

struct Body {
  std::unique_ptr<char[]> bytes;
  std::size_t length;
};

simdjson::ondemand::parser parser;

// What was read, kept from being optimised away.
volatile std::uint64_t sink;

void must(bool holds, const char *why) {
  if (!holds) throw std::runtime_error(why);
}

bool is_type(std::string_view type) {
  return type == "gauge" || type == "counter" || type == "histogram" || type == "summary" || type == "untyped";
}

std::uint64_t parse(const Body &body) {
  std::uint64_t metrics = 0;
  std::uint64_t seen = 0;
  auto document = parser.iterate(body.bytes.get(), body.length, body.length + simdjson::SIMDJSON_PADDING);
  for (auto metric : document["metrics"].get_array()) {
    bool has_name = false;
    bool has_value = false;
    for (auto field : metric.get_object()) {
      const std::string_view key = field.unescaped_key();
      if (key == "name") {
        const std::string_view name = field.value().get_string();
        must(!name.empty() && name.size() <= 255, "a name of 1 to 255 bytes");
        seen += name.size();
        has_name = true;
      } else if (key == "value") {
        const double value = field.value().get_double();
        must(std::isfinite(value), "a finite value");
        seen += static_cast<std::uint64_t>(std::signbit(value));
        has_value = true;
      } else if (key == "type") {
        must(is_type(field.value().get_string()), "a known type");
      } else if (key == "timestamp") {
        seen += static_cast<std::uint64_t>(field.value().get_int64());
      } else if (key == "tags") {
        for (auto tag : field.value().get_object()) {
          const std::string_view tag_key = tag.unescaped_key();
          const std::string_view tag_value = tag.value().get_string();
          seen += tag_key.size() + tag_value.size();
        }
      }
    }
    must(has_name && has_value, "a name and a value");
    ++metrics;
  }
  must(metrics >= 1 && metrics <= 1000, "1 to 1,000 metrics");
  sink = seen;
  return metrics;
}

Body read_body(std::size_t length) {
  must(length <= kBodyBytesMax, "a smaller body");
  Body body{std::make_unique<char[]>(length + simdjson::SIMDJSON_PADDING), length};
  must(static_cast<bool>(std::cin.read(body.bytes.get(), static_cast<std::streamsize>(length))), "the whole body");
  return body;
}

std::uint64_t obey(char command, std::uint64_t number, std::vector<Body> &bodies) {
  switch (command) {
    case 'P':
      return parse(read_body(number));
    case 'C':
      bodies.clear();
      return 0;
    case 'L':
      bodies.push_back(read_body(number));
      return 0;
    case 'T': {
      const auto start = std::chrono::steady_clock::now();
      for (std::uint64_t walk = 0; walk < number; ++walk) {
        for (const Body &body : bodies) parse(body);
      }
      const auto spent = std::chrono::steady_clock::now() - start;
      return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
    }
    default:
      throw std::runtime_error("a command");
  }
}

}  // namespace

int main() {
  std::vector<Body> bodies;
  char command = 0;
  std::uint64_t number = 0;
  std::cout << "simdjson " << simdjson::SIMDJSON_VERSION_MAJOR << '.' << simdjson::SIMDJSON_VERSION_MINOR << '.' << simdjson::SIMDJSON_VERSION_REVISION
            << ", " << simdjson::get_active_implementation()->name() << std::endl;
  while (std::cin >> command >> number) {
    std::cin.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    try {
      std::cout << "ok " << obey(command, number, bodies) << std::endl;
    } catch (const std::exception &error) {
      std::cout << "error " << error.what() << std::endl;
    }
  }
}
