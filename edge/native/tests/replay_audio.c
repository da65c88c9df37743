/* Job: hop, bands, windows; step, floor, release; points, circle; per window: size, length, taper, start,
 * count, number of weights, weights; number of pushes; per push: how many samples (negative: so many of
 * silence), samples. Result: bins, then levels of each push. */
#include "audio_frontend.h"
#include "replay.h"

void replay_audio(void) {
  audio_spec spec = {.hop = job_int(), .bands = job_int(), .windows = job_int()};
  spec.step = job_float();
  spec.floor = job_float();
  spec.release = job_float();
  spec.points = job_int();
  spec.circle = job_array(2 * (size_t)spec.points, sizeof(float));
  const size_t bands = (size_t)spec.bands;
  audio_window *window = room((size_t)spec.windows * sizeof *window);
  for (int i = 0; i < spec.windows; ++i) {
    window[i].size = job_int();
    window[i].length = job_int();
    window[i].window = job_array((size_t)window[i].length, sizeof(float));
    window[i].start = job_array(bands, sizeof(int32_t));
    window[i].count = job_array(bands, sizeof(int32_t));
    window[i].weights = job_array((size_t)job_int(), sizeof(float));
  }
  spec.window = window;
  const char *error = NULL;
  audio_frontend *frontend = audio_frontend_new(&spec, &error);
  if (frontend == NULL) fail(error != NULL ? error : "out of memory");
  const int pushes = job_int();
  for (int i = 0; i < pushes; ++i) {
    const int count = job_int();
    const size_t samples = (size_t)(count < 0 ? -count : count);
    const float *sound = count < 0 ? NULL : job_array(samples, sizeof(float));
    const size_t due = audio_frontend_due(frontend, samples);
    const size_t values = due * audio_frontend_values(frontend);
    int8_t *bins = room(values);
    float *level = room(due * sizeof(float));
    audio_frontend_push(frontend, sound, samples, bins, level);
    result(bins, values);
    result(level, due * sizeof(float));
  }
  audio_frontend_free(frontend);
}
