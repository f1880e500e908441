// What the drivers of verilated models share: signals, initial values, and errors.

#pragma once

#include "Vmodel.h"
#include "verilator_prelude.h"

// Verilator's runtime is compiled without these two. Its own would end the process at an error, for
// instance a word in a memory file that is not hexadecimal, and go on after a warning, for instance
// that there is no such file.
void vl_fatal(const char* file, int line, const char*, const char* message) {
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + message);
}
void vl_warn(const char* file, int line, const char* hierarchy, const char* message) {
  vl_fatal(file, line, hierarchy, message);
}

namespace {

// Verilator keeps signals of up to 64 bits in integers and wider ones in arrays of 32-bit words;
// both are little-endian in memory on the hosts that are supported.
template <typename Signal>
void write(Signal& signal, const void* bytes, size_t count) {
  std::memset(reinterpret_cast<uint8_t*>(&signal), 0, sizeof(Signal));
  std::memcpy(reinterpret_cast<uint8_t*>(&signal), bytes, count);
}

template <typename Signal>
void read(const Signal& signal, void* bytes, size_t count) {
  std::memcpy(bytes, reinterpret_cast<const uint8_t*>(&signal), count);
}

// What Vmodel::eval does after its first call, without locking the queue of messages and that of
// objects to delete, which takes longer than a small layer and is for models with threads.
inline void evaluate(Vmodel& model) { Vmodel___024root___eval(model.rootp); }

// The model in `context` before its first clock edge: `first_inputs(model)` sets clock and reset
// low, registers have random values. Memory files are named relative to `folder`.
template <typename Inputs>
std::unique_ptr<Vmodel> load_model(VerilatedContext& context, const char* folder, uint64_t seed,
                                   Inputs first_inputs) {
  struct InFolder {
    std::filesystem::path before = std::filesystem::current_path();
    explicit InFolder(const char* folder) { std::filesystem::current_path(folder); }
    ~InFolder() { std::filesystem::current_path(before); }
  };
  context.randReset(2);
  context.randSeed(static_cast<int>(seed % 0x7fffffff + 1));
  auto model = std::make_unique<Vmodel>(&context);
  const InFolder there(folder);
  first_inputs(*model);
  model->eval();
  return model;
}

void copy_message(const std::exception& error, char* message, size_t size) {
  std::strncpy(message, error.what(), size - 1);
  message[size - 1] = '\0';
}

}  // namespace
