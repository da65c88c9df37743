/* Job: size, length; points, circle; samples, window. Result: power of the bins 0 .. size/2. */
#include "fft.h"
#include "replay.h"

void replay_fft(void) {
  const int size = job_int(), length = job_int(), points = job_int();
  const float *circle = job_array(2 * (size_t)points, sizeof(float));
  const float *samples = job_array((size_t)length, sizeof(float));
  const float *window = job_array((size_t)length, sizeof(float));
  fft *plan = fft_new(size, circle, points);
  if (plan == NULL) fail("no such FFT");
  float *scratch = room(fft_scratch(plan) * sizeof(float));
  const size_t bytes = ((size_t)size / 2 + 1) * sizeof(float);
  float *power = room(bytes);
  fft_power(plan, samples, window, length, scratch, power);
  result(power, bytes);
  fft_free(plan);
}
