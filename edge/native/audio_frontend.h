/* Streaming audio features: samples in, one int8 spectrum per hop out.
 *
 * At the end of every hop each window looks back over its newest samples. Its power spectrum is gathered into
 * bands by a sparse matrix, turned into decibels, and quantized relative to a level that follows the loudest
 * band upwards at once and falls by a fixed amount per hop:
 *
 *   db[b] = 10 log10(sum_k weight[b][k] power[k] + 2^-40)
 *   level = max(level - release, max of all db, floor)
 *   bin   = clip(round((db - level) / step) + 127, -128, 127)
 *
 * Windows, circle and bands are tables of the caller: the same code serves log-frequency bands, mel bands and
 * single FFT bins. The result depends on the samples alone, not on how they were cut into pushes.
 */
#ifndef IVORIES_AUDIO_FRONTEND_H
#define IVORIES_AUDIO_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

/* Part of every fingerprint: raise it whenever the same tables would give other bits. */
enum { AUDIO_KERNEL_REVISION = 1 };

/* One window and its bands. Band b covers FFT bins start[b] .. start[b] + count[b] - 1; its weights are the
 * next count[b] values of `weights`. All tables are copied. */
typedef struct {
  int size;             /* of the FFT: see fft.h */
  int length;           /* of the window, a multiple of 8, at most size */
  const float *window;  /* [length] */
  const int32_t *start; /* [bands] */
  const int32_t *count; /* [bands], at least 1 */
  const float *weights; /* [sum of count] */
} audio_window;

typedef struct {
  int hop;   /* samples */
  int bands; /* rows of the result */
  int windows;
  const audio_window *window; /* [windows] */
  const float *circle;        /* [points][2]: see fft_new */
  int points;
  float step;    /* dB per int8 step */
  float floor;   /* dB, lowest level */
  float release; /* dB per hop */
} audio_spec;

typedef struct audio_frontend audio_frontend;

/* Returns NULL when memory is short or, with *error set to a sentence, when the tables do not fit together.
 */
audio_frontend *audio_frontend_new(const audio_spec *spec, const char **error);
void audio_frontend_free(audio_frontend *f);

/* Forget all samples; the level returns to the floor. */
void audio_frontend_reset(audio_frontend *f);

/* How many spectra a push of `count` samples completes. */
size_t audio_frontend_due(const audio_frontend *f, size_t count);

/* int8 values of one spectrum: bands * windows. */
size_t audio_frontend_values(const audio_frontend *f);

/* Take `count` samples; NULL stands for silence. Those that are no number count as 0, those beyond +-8 are
 * clipped. Writes audio_frontend_due() spectra to `bins` [due][bands][windows] and `level` [due], dB. */
void audio_frontend_push(audio_frontend *f, const float *samples, size_t count, int8_t *bins, float *level);

/* "neon", "sse2" or "scalar": what this build runs on. */
const char *audio_frontend_simd(void);

#endif
