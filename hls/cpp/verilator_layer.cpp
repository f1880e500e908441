// One layer's module as a library of its own, ticked once a clock cycle by the model of the top.
//
// `interface.h` is generated beside the model: CLOCK, and the other ports of the module as
// INPUTS(X) and OUTPUTS(X), each X(SIGNAL, WORD, BITS) where WORD is the first of the 32-bit words
// that carry the signal in INPUT_WORDS and OUTPUT_WORDS words.

#include "interface.h"
#include "verilator_common.h"

namespace {

class Layer {
 public:
  Layer(const char* folder, uint64_t seed)
      : model_(load_model(context_, folder, seed, [](Vmodel& model) {
          model.CLOCK = 0;
#define X(SIGNAL, WORD, BITS) std::memset(&model.SIGNAL, 0, sizeof(model.SIGNAL));
          INPUTS(X)
#undef X
        })) {
    read_outputs(outputs_);
  }

  ~Layer() { model_->final(); }

  // One clock cycle with these inputs; gives the outputs after its rising edge.
  const char* tick(const uint32_t* inputs, uint32_t* outputs) {
    const bool same = std::memcmp(inputs, inputs_, sizeof(inputs_)) == 0;
    if (!same || !asleep_) {
      if (!same) {
        std::memcpy(inputs_, inputs, sizeof(inputs_));
        write_inputs();
        quiet_ = 0;
        patience_ = kPatience;
        asleep_ = false;
      }
      model_->CLOCK = 0;
      evaluate(*model_);
      if (!same && !outputs_stand()) return "an output depends on an input of the same cycle";
      model_->CLOCK = 1;
      evaluate(*model_);
      read_outputs(outputs_);
      if (same) fall_asleep();
    }
    std::memcpy(outputs, outputs_, sizeof(outputs_));
    return nullptr;
  }

 private:
  // A cycle that changes neither inputs nor registers is repeated by all that follow until an input
  // changes. All that the model keeps lies in its symbol table; comparing it costs about as much
  // as a number of cycles that grows with its size, so it is tried after as many quiet ones.
  static constexpr uint64_t kPatience = 4 + sizeof(Vmodel__Syms) / 1000;

  void fall_asleep() {
    const auto* state = reinterpret_cast<const uint8_t*>(model_->rootp->vlSymsp);
    if (++quiet_ == patience_) {
      snapshot_.assign(state, state + sizeof(Vmodel__Syms));
    } else if (quiet_ > patience_) {
      asleep_ = std::memcmp(state, snapshot_.data(), snapshot_.size()) == 0;
      patience_ = 2 * quiet_;
    }
  }

  void write_inputs() {
#define X(SIGNAL, WORD, BITS) write(model_->SIGNAL, inputs_ + WORD, (BITS + 7) / 8);
    INPUTS(X)
#undef X
  }

  void read_outputs(uint32_t* words) const {
#define X(SIGNAL, WORD, BITS) read(model_->SIGNAL, words + WORD, (BITS + 7) / 8);
    OUTPUTS(X)
#undef X
  }

  bool outputs_stand() const {
    uint32_t words[OUTPUT_WORDS] = {};
    read_outputs(words);
    return std::memcmp(words, outputs_, sizeof(outputs_)) == 0;
  }

  VerilatedContext context_;
  std::unique_ptr<Vmodel> model_;
  uint32_t inputs_[INPUT_WORDS] = {};
  uint32_t outputs_[OUTPUT_WORDS] = {};
  uint64_t quiet_ = 0, patience_ = kPatience;  // cycles with the same inputs
  bool asleep_ = false;
  std::vector<uint8_t> snapshot_;
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Null where `message` of `size` bytes says what is wrong.
EXPORT void* create_layer(const char* folder, uint64_t seed, char* message, size_t size) {
  try {
    return new Layer(folder, seed);
  } catch (const std::exception& error) {
    copy_message(error, message, size);
    return nullptr;
  }
}

// Null, or what is wrong.
EXPORT const char* tick_layer(void* layer, const uint32_t* inputs, uint32_t* outputs) {
  return static_cast<Layer*>(layer)->tick(inputs, outputs);
}

EXPORT void destroy_layer(void* layer) { delete static_cast<Layer*>(layer); }
