// Stand-in for Vitis HLS's hls_stream.h, for simulation with an ordinary compiler only.
// A stream is an unbounded queue. Unlike the original it is strict: reading from an empty stream
// throws, and data left in a stream that goes away is counted.
#pragma once

#include <deque>
#include <stdexcept>
#include <utility>

namespace hls {

// Streams that were destroyed with data in them; a correct design leaves none.
inline int &streams_left_full() {
  static int count = 0;
  return count;
}

template <typename T>
class stream {
 public:
  stream() = default;
  explicit stream(const char *) {}
  stream(const stream &) = delete;
  stream &operator=(const stream &) = delete;
  ~stream() {
    if (!queue_.empty()) ++streams_left_full();
  }

  T read() {
    if (queue_.empty()) throw std::runtime_error("read from an empty stream");
    T value = std::move(queue_.front());
    queue_.pop_front();
    return value;
  }
  void write(const T &value) { queue_.push_back(value); }
  bool empty() const { return queue_.empty(); }
  std::size_t size() const { return queue_.size(); }

 private:
  std::deque<T> queue_;
};

}  // namespace hls
