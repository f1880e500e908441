// What every driver of a verilated model includes; compiled once and kept, see verilator_build.py.

#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "svdpi.h"
#include "verilated.h"
