// C interface around the generated accelerator, for simulation: compiled as one unit with it.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "accelerator.cpp"

namespace {

// `data[port]` points at frames * beats[port] * sizeof(TDATA) bytes; the first `inputs` ports are
// the inputs, in the order of the accelerator's arguments.
struct Frames {
  int inputs;
  const long *beats;
  unsigned char *const *data;
};

template <int DataBits>
void transfer(hls::stream<ap_axiu<DataBits, 0, 0, 0> > &stream, int port, long frame,
              const Frames &frames, bool input) {
  if (input != (port < frames.inputs)) return;
  const long beats = frames.beats[port];
  const int kBytes = DataBits / 8;
  unsigned char *bytes = frames.data[port] + frame * beats * kBytes;
  if (!input && long(stream.size()) != beats) throw std::runtime_error("wrong number of beats");
  for (long beat = 0; beat < beats; ++beat, bytes += kBytes) {
    ap_axiu<DataBits, 0, 0, 0> axi;
    if (input) {
      for (int i = 0; i < kBytes; ++i) axi.data.range(8 * i + 7, 8 * i) = bytes[i];
      axi.last = beat == beats - 1;
      stream.write(axi);
    } else {
      axi = stream.read();
      for (int i = 0; i < kBytes; ++i) bytes[i] = axi.data.range(8 * i + 7, 8 * i).to_uint();
      if ((axi.last == 1) != (beat == beats - 1)) throw std::runtime_error("TLAST in a wrong beat");
    }
  }
}

template <typename... Beats, std::size_t... Ports>
void run(void (*top)(hls::stream<Beats> &...), long count, const Frames &frames,
         std::index_sequence<Ports...>) {
  std::tuple<hls::stream<Beats>...> streams;
  for (long frame = 0; frame < count; ++frame) {
    (transfer(std::get<Ports>(streams), Ports, frame, frames, true), ...);
    top(std::get<Ports>(streams)...);
    (transfer(std::get<Ports>(streams), Ports, frame, frames, false), ...);
    if (!(std::get<Ports>(streams).empty() && ...) || hls::streams_left_full() > 0)
      throw std::runtime_error("beats left over after the frame");
  }
}

template <typename... Beats>
void run(void (*top)(hls::stream<Beats> &...), long count, const Frames &frames) {
  run(top, count, frames, std::index_sequence_for<Beats...>());
}

}  // namespace

// Runs `count` frames. Returns 0, or 1 with the reason in `message` (`size` bytes).
extern "C" __attribute__((visibility("default"))) int simulate(long count, int inputs,
                                                               const long *beats,
                                                               unsigned char *const *data,
                                                               char *message, int size) {
  hls::streams_left_full() = 0;
  try {
    run(accelerator, count, Frames{inputs, beats, data});
    return 0;
  } catch (const std::exception &error) {
    std::snprintf(message, size, "%s", error.what());
    return 1;
  }
}
