#include "resample.h"

#include "simd.h"

void resample(const float *x, const float *filter, int taps, int64_t up, int64_t down, int64_t first,
              float *out, size_t count) {
  int64_t place = first / up, phase = first % up;
  const int64_t whole = down / up, part = down % up;
  for (size_t m = 0; m < count; ++m) {
    const float *from = x + place, *row = filter + phase * taps;
    v4 sum = v4_set1(0);
    for (int j = 0; j < taps; j += 4) sum = v4_add(sum, v4_mul(v4_load(from + j), v4_load(row + j)));
    float lane[4];
    v4_store(lane, sum);
    out[m] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
    place += whole;
    phase += part;
    if (phase >= up) {
      phase -= up;
      place += 1;
    }
  }
}
