/* Job: up, down, first (int64); taps, number of samples, number of outputs (int32); filter, samples. */
#include "replay.h"
#include "resample.h"

void replay_resample(void) {
  const int64_t up = job_long(), down = job_long(), first = job_long();
  const int taps = job_int(), samples = job_int(), outputs = job_int();
  const float *filter = job_array((size_t)up * (size_t)taps, sizeof(float));
  const float *x = job_array((size_t)samples, sizeof(float));
  float *out = room((size_t)outputs * sizeof(float));
  resample(x, filter, taps, up, down, first, out, (size_t)outputs);
  result(out, (size_t)outputs * sizeof(float));
}
