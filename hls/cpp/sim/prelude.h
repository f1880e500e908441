// What every simulation includes, compiled once and kept, see hls/simulate/cpp.py.
#pragma once

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "ap_axi_sdata.h"
#include "ap_int.h"
#include "hls_stream.h"
