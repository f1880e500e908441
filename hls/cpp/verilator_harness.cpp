// Drives a verilated design through valid/ready streams, whole batches in one call.
//
// `interface.h` is generated beside the model. It names the clock (CLOCK) and the reset (RESET_N),
// says whether streams mark the last beat of a frame (HAS_LAST), and lists them: SINKS(X) that the
// design takes from, SOURCES(X) that it gives to, each as X(index, DATA, VALID, READY, LAST, BITS).
// LAYERS(X), each X(index), are modules of which the model holds stubs only: every clock cycle
// calls layer_<index>, which is passed on to the layer's own library (verilator_layer.cpp).

#include "interface.h"
#include "verilator_common.h"

#if HAS_LAST
#define SET_LAST(signal, value) model_->signal = (value)
#define IS_LAST(signal, expected) (model_->signal != 0)
#else
#define SET_LAST(signal, value)
#define IS_LAST(signal, expected) (expected)
#endif

namespace {

enum Status : int32_t {
  kDone = 0,
  kNoProgress = 1,
  kDataChanged = 2,
  kValidDropped = 3,
  kLastMisplaced = 4,
  kTooManyBeats = 5,
  kStopped = 6,
};

struct Stream {
  uint8_t* data;           // beats one after the other, little-endian, padded to bytes
  uint64_t beats;          // to send, or expected
  uint64_t frame_beats;    // beats of a frame
  uint64_t* completed;     // sources: cycle in which the last beat of each frame was taken
};

struct LayerLibrary {      // see verilator_layer.cpp
  void* (*create)(const char* folder, uint64_t seed, char* message, size_t size);
  const char* (*tick)(void* layer, const uint32_t* inputs, uint32_t* outputs);
  void (*destroy)(void* layer);
  const char* name;
  const char* folder;      // of its memory files
};

struct Request {
  const char* folder;      // of the memory files
  uint64_t seed;
  double stall_in, stall_out;  // probability per cycle that a side pauses
  uint64_t reset_after;    // beats taken in before one reset in mid-flight; 0 for none
  uint64_t idle_limit;     // cycles without any transfer that count as a deadlock
  uint64_t drain;          // cycles watched for surplus beats after the last one
  Stream* sinks;
  Stream* sources;
  const LayerLibrary* layers;
  // Results.
  uint64_t cycles;         // from the first beat taken in to the last one given out
  uint64_t failed_source;
  uint64_t failed_beat;
  char message[512];       // of kStopped
};

struct Random {  // xorshift64*
  uint64_t state;
  uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Dull;
  }
  bool chance(double probability) { return (next() >> 11) * 0x1.0p-53 < probability; }
};

// The layers that run in libraries of their own.
class Layers {
 public:
  explicit Layers(const Request& request) {
    for (size_t i = 0; i < LAYER_COUNT; i++) {
      const LayerLibrary& library = request.layers[i];
      char message[sizeof(request.message)];
      void* layer = library.create(library.folder, request.seed + i + 1, message, sizeof(message));
      if (layer == nullptr) fail(library, message);
      running_.push_back({layer, &library});
    }
  }
  ~Layers() {
    for (const auto& [layer, library] : running_) library->destroy(layer);
  }
  void tick(size_t index, const uint32_t* inputs, uint32_t* outputs) const {
    const auto& [layer, library] = running_[index];
    const char* message = library->tick(layer, inputs, outputs);
    if (message != nullptr) fail(*library, message);
  }

 private:
  [[noreturn]] static void fail(const LayerLibrary& library, const char* message) {
    throw std::runtime_error(std::string("layer '") + library.name + "': " + message);
  }
  std::vector<std::pair<void*, const LayerLibrary*>> running_;
};

Layers* running_layers = nullptr;  // of the one simulation that runs

class Simulation {
 public:
  explicit Simulation(Request& request)
      : request_(request),
        random_{request.seed * 0x9E3779B97F4A7C15ull + 1},
        layers_(request),
        model_(load_model(context_, request.folder, request.seed, [](Vmodel& model) {
          model.CLOCK = 0;
          model.RESET_N = 0;
        })) {
    running_layers = &layers_;
  }

  ~Simulation() { model_->final(); }

  Status run() {
    reset();
    uint64_t idle = 0, drained = 0, taken = 0;
    bool reset_pending = request_.reset_after > 0;
    while (true) {
      const bool finished = all_received();
      if (finished && ++drained > request_.drain) return kDone;
      offer();
      accept(finished);
      clock(0);  // with the new inputs
      const uint64_t sent = complete_sinks();
      if (sent > 0 && taken == 0) started_ = now_;
      taken += sent;
      uint64_t received = 0;
      const Status status = complete_sources(received);
      if (status != kDone) return status;
      if (received > 0) request_.cycles = now_ - started_ + 1;
      clock(1);
      now_++;
      idle = (sent + received > 0) ? 0 : idle + 1;
      if (!finished && idle > request_.idle_limit) return kNoProgress;
      if (reset_pending && taken >= request_.reset_after) {
        reset_pending = false;
        idle = taken = 0;
        reset();
      }
    }
  }

 private:
  struct SinkState {
    uint64_t sent = 0;
    bool offered = false, taken = false;
  };
  struct SourceState {
    uint64_t received = 0;
    bool stalled = false;
    std::vector<uint8_t> held, beat;
  };

  void reset() {
#define X(i, DATA, VALID, READY, LAST, BITS) \
    sinks_[i] = SinkState{};                 \
    model_->VALID = 0;
    SINKS(X)
#undef X
#define X(i, DATA, VALID, READY, LAST, BITS)    \
    sources_[i] = SourceState{};                \
    sources_[i].held.assign((BITS + 7) / 8, 0); \
    sources_[i].beat.assign((BITS + 7) / 8, 0); \
    model_->READY = random_.chance(0.5);
    SOURCES(X)
#undef X
    model_->RESET_N = 0;
    for (int cycle = 0; cycle < 3; cycle++) {
      clock(0);
      clock(1);
    }
    model_->RESET_N = 1;
  }

  void clock(int level) {
    model_->CLOCK = level;
    evaluate(*model_);
  }

  // Offer the next beat of every stream, or pause with meaningless data on it.
  void offer() {
#define X(i, DATA, VALID, READY, LAST, BITS)                                             \
    {                                                                                    \
      SinkState& state = sinks_[i];                                                      \
      const Stream& stream = request_.sinks[i];                                          \
      constexpr size_t kBytes = (BITS + 7) / 8;                                          \
      if (!state.offered) {                                                              \
        state.offered = state.sent < stream.beats && !random_.chance(request_.stall_in); \
        if (state.offered) {                                                             \
          write(model_->DATA, stream.data + state.sent * kBytes, kBytes);                \
        } else {                                                                         \
          uint8_t noise[kBytes];                                                         \
          for (size_t b = 0; b < kBytes; b++) noise[b] = random_.next() >> 56;           \
          noise[kBytes - 1] &= 0xff >> (8 * kBytes - BITS);                              \
          write(model_->DATA, noise, kBytes);                                            \
        }                                                                                \
        model_->VALID = state.offered;                                                   \
        SET_LAST(LAST, state.sent % stream.frame_beats == stream.frame_beats - 1);       \
      }                                                                                  \
    }
    SINKS(X)
#undef X
  }

  void accept(bool finished) {
#define X(i, DATA, VALID, READY, LAST, BITS) \
    model_->READY = finished || !random_.chance(request_.stall_out);
    SOURCES(X)
#undef X
  }

  uint64_t complete_sinks() {
    uint64_t count = 0;
#define X(i, DATA, VALID, READY, LAST, BITS)  \
    if (sinks_[i].offered && model_->READY) { \
      sinks_[i].offered = false;              \
      sinks_[i].sent++;                       \
      count++;                                \
    }
    SINKS(X)
#undef X
    return count;
  }

  Status complete_sources(uint64_t& count) {
#define X(i, DATA, VALID, READY, LAST, BITS)                                                    \
    {                                                                                           \
      SourceState& state = sources_[i];                                                         \
      const Stream& stream = request_.sources[i];                                               \
      request_.failed_source = i;                                                               \
      request_.failed_beat = state.received;                                                    \
      if (state.stalled && !model_->VALID) return kValidDropped;                                \
      if (model_->VALID) {                                                                      \
        if (state.received == stream.beats) return kTooManyBeats;                               \
        read(model_->DATA, state.beat.data(), state.beat.size());                               \
        if (state.stalled && state.beat != state.held) return kDataChanged;                     \
        const bool end = state.received % stream.frame_beats == stream.frame_beats - 1;         \
        if (IS_LAST(LAST, end) != end) return kLastMisplaced;                                   \
        state.stalled = !model_->READY;                                                         \
        state.held = state.beat;                                                                \
        if (model_->READY) {                                                                    \
          std::memcpy(stream.data + state.received * state.beat.size(), state.beat.data(),      \
                      state.beat.size());                                                       \
          if (end) stream.completed[state.received / stream.frame_beats] = now_ - started_ + 1; \
          state.received++;                                                                     \
          count++;                                                                              \
        }                                                                                       \
      }                                                                                         \
    }
    SOURCES(X)
#undef X
    return kDone;
  }

  bool all_received() const {
#define X(i, DATA, VALID, READY, LAST, BITS) \
    if (sources_[i].received < request_.sources[i].beats) return false;
    SOURCES(X)
#undef X
    return true;
  }

  Request& request_;
  Random random_;
  Layers layers_;
  VerilatedContext context_;
  std::unique_ptr<Vmodel> model_;
  SinkState sinks_[SINK_COUNT];
  SourceState sources_[SOURCE_COUNT];
  uint64_t now_ = 0, started_ = 0;
};

}  // namespace

#define X(i)                                                                           \
  extern "C" void layer_##i(const svBitVecVal* inputs, svBitVecVal* outputs) {         \
    running_layers->tick(i, inputs, outputs);                                          \
  }
LAYERS(X)
#undef X

extern "C" __attribute__((visibility("default"))) int32_t simulate(Request* request) {
  try {
    return Simulation(*request).run();
  } catch (const std::exception& error) {
    copy_message(error, request->message, sizeof(request->message));
    return kStopped;
  }
}
