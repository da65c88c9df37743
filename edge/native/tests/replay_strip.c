/* Job: the rest_spec's integers (tick, start, light as int64); width, height; corner, weights; whether a rest
 * image follows, rest image; stride; number of frames; per frame: time (int64), height * stride bytes.
 * Result: for each frame that completes one, the strip; at the end the rest image. */
#include "replay.h"
#include "strip.h"

void replay_strip(void) {
  rest_spec spec = {.rows = job_int(), .keys = job_int(), .columns = job_int()};
  spec.back_first = job_int();
  spec.back_end = job_int();
  spec.tick_ns = job_long();
  spec.start_ns = job_long();
  spec.light_ns = job_long();
  spec.still = job_int();
  spec.near = job_int();
  spec.busy = job_int();
  spec.jump = job_int();
  spec.busy_permille = job_int();
  spec.scene_permille = job_int();
  spec.settle = job_int();
  spec.follow = job_int();
  spec.trust = job_int();
  spec.recover = job_int();
  spec.replace = job_int();
  spec.ghost_permille = job_int();
  const int width = job_int(), height = job_int();
  const size_t pixels = (size_t)spec.rows * (size_t)spec.keys * (size_t)spec.columns;
  const uint16_t *corner = job_array(pixels, 2 * sizeof *corner);
  const uint8_t *weights = job_array(pixels, STRIP_TAPS);
  strip *s = strip_new(&spec, width, height, corner, weights);
  if (s == NULL) fail("a patch lies outside the picture");
  if (job_int()) rest_image_set(strip_rest(s), job_array(pixels, 1));
  const int stride = job_int(), frames = job_int();
  int8_t *out = room(pixels * STRIP_CHANNELS);
  for (int i = 0; i < frames; i++) {
    const int64_t t_ns = job_long();
    /* the last row ends with its last pixel, so that a sanitizer sees every read beyond it */
    const uint8_t *luma = job_array((size_t)(height - 1) * (size_t)stride + (size_t)width, 1);
    if (strip_push(s, luma, stride, t_ns, out)) result(out, pixels * STRIP_CHANNELS);
  }
  uint8_t *rest = room(pixels);
  rest_image_get(strip_rest(s), rest);
  result(rest, pixels);
  strip_free(s);
}
