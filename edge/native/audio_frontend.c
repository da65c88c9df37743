#include "audio_frontend.h"

#include <stdlib.h>
#include <string.h>

#include "fft.h"
#include "simd.h"

enum { HOPS_BETWEEN_MOVES = 32, LONGEST_HOP = 1 << 20 };

typedef struct {
  fft *plan;
  int length, fft_bins;
  float *window;
  int32_t *start; /* [rows] first FFT bin */
  int32_t *quads; /* [rows / 4] fours of FFT bins that the widest of four bands covers */
  float *weights; /* [rows / 4][quads][4 bands][4 bins], padded with zeros */
  int reach;      /* floats of power that the padded bands read */
} analysis;

struct audio_frontend {
  int hop, bands, rows, windows; /* rows: bands rounded up to a multiple of 4 */
  float step, floor, release, level;
  analysis *analyses;
  float *history; /* the newest `longest` samples end at history + end */
  int longest, capacity, end, pending;
  float *scratch, *power, *db; /* db: [windows][rows] */
};

const char *audio_frontend_simd(void) { return SIMD_NAME; }

static const char *check(const audio_spec *s) {
  if (s->hop < 1 || s->bands < 1 || s->windows < 1) return "hop, bands and windows must be at least 1";
  if (s->hop > LONGEST_HOP) return "a hop of more than 1048576 samples is no hop";
  if (!(s->step > 0) || !(s->release >= 0)) return "the step must be above 0 and the release not below 0";
  for (int i = 0; i < s->windows; ++i) {
    const audio_window *w = &s->window[i];
    if (w->size < FFT_SMALLEST || w->size > FFT_LARGEST || (w->size & (w->size - 1)) != 0)
      return "an FFT size must be a power of two from 32 to 8192";
    if (s->points < w->size || s->points % w->size != 0) return "the circle has too few points for the FFT";
    if (w->length < 8 || w->length % 8 != 0 || w->length > w->size)
      return "a window's length must be a multiple of 8 and at most its FFT size";
    for (int b = 0; b < s->bands; ++b) {
      if (w->start[b] < 0 || w->count[b] < 1 || w->count[b] > w->size / 2 + 1 - w->start[b])
        return "a band lies outside the FFT bins 0 .. size/2";
    }
  }
  return NULL;
}

/* Copy the tables of one window; false when memory is short. */
static int analysis_init(analysis *a, const audio_window *w, const audio_spec *s, int rows) {
  a->plan = fft_new(w->size, s->circle, s->points);
  a->length = w->length;
  a->fft_bins = a->reach = w->size / 2 + 1;
  a->window = malloc(sizeof(float) * (size_t)w->length);
  a->start = calloc((size_t)rows, sizeof(int32_t));
  a->quads = calloc((size_t)rows / 4, sizeof(int32_t));
  if (!a->plan || !a->window || !a->start || !a->quads) return 0;
  memcpy(a->window, w->window, sizeof(float) * (size_t)w->length);
  size_t total = 0;
  for (int b = 0; b < s->bands; ++b) {
    const int quads = (w->count[b] + 3) / 4;
    a->start[b] = w->start[b];
    if (quads > a->quads[b / 4]) a->quads[b / 4] = quads;
  }
  for (int b = 0; b < rows; ++b) {
    const int end = a->start[b] + 4 * a->quads[b / 4];
    if (end > a->reach) a->reach = end;
    total += 4 * (size_t)a->quads[b / 4];
  }
  a->weights = calloc(total, sizeof(float));
  if (!a->weights) return 0;
  const float *from = w->weights;
  float *group = a->weights;
  for (int b = 0; b < s->bands; ++b) {
    for (int i = 0; i < w->count[b]; ++i) group[16 * (i / 4) + 4 * (b % 4) + i % 4] = *from++;
    if (b % 4 == 3) group += 16 * a->quads[b / 4];
  }
  return 1;
}

audio_frontend *audio_frontend_new(const audio_spec *spec, const char **error) {
  if ((*error = check(spec)) != NULL) return NULL;
  audio_frontend *f = calloc(1, sizeof *f);
  if (f == NULL) return NULL;
  f->hop = spec->hop, f->bands = spec->bands, f->windows = spec->windows;
  f->rows = (spec->bands + 3) / 4 * 4;
  f->step = spec->step, f->floor = spec->floor, f->release = spec->release;
  f->analyses = calloc((size_t)spec->windows, sizeof *f->analyses);
  if (f->analyses == NULL) goto fail;
  size_t scratch = 0;
  int reach = 0;
  for (int i = 0; i < spec->windows; ++i) {
    if (!analysis_init(&f->analyses[i], &spec->window[i], spec, f->rows)) goto fail;
    if (fft_scratch(f->analyses[i].plan) > scratch) scratch = fft_scratch(f->analyses[i].plan);
    if (f->analyses[i].reach > reach) reach = f->analyses[i].reach;
    if (spec->window[i].length > f->longest) f->longest = spec->window[i].length;
  }
  f->capacity = f->longest + HOPS_BETWEEN_MOVES * f->hop;
  f->history = malloc(sizeof(float) * (size_t)f->capacity);
  f->scratch = malloc(sizeof(float) * scratch);
  f->power = malloc(sizeof(float) * (size_t)reach);
  f->db = calloc((size_t)f->windows * (size_t)f->rows, sizeof(float));
  if (!f->history || !f->scratch || !f->power || !f->db) goto fail;
  audio_frontend_reset(f);
  return f;
fail:
  audio_frontend_free(f);
  return NULL;
}

void audio_frontend_free(audio_frontend *f) {
  if (f == NULL) return;
  for (int i = 0; f->analyses != NULL && i < f->windows; ++i) {
    fft_free(f->analyses[i].plan);
    free(f->analyses[i].window);
    free(f->analyses[i].start);
    free(f->analyses[i].quads);
    free(f->analyses[i].weights);
  }
  free(f->analyses);
  free(f->history);
  free(f->scratch);
  free(f->power);
  free(f->db);
  free(f);
}

void audio_frontend_reset(audio_frontend *f) {
  memset(f->history, 0, sizeof(float) * (size_t)f->longest);
  f->end = f->longest;
  f->pending = 0;
  f->level = f->floor;
}

size_t audio_frontend_due(const audio_frontend *f, size_t count) {
  return ((size_t)f->pending + count) / (size_t)f->hop;
}

size_t audio_frontend_values(const audio_frontend *f) { return (size_t)f->bands * (size_t)f->windows; }

/* Below 2^-32 (-193 dB) a sample is 0: numbers too small for the normal range would only cost time. */
static float tame(float x) {
  const float size = x < 0 ? -x : x;
  if (!(size >= 0x1p-32f) || size > FLT_MAX) return 0;
  return x > 8 ? 8 : x < -8 ? -8 : x;
}

/* 10 log10(x) of positive normal numbers: exponent plus a polynomial in the mantissa m - 1, m in
 * [sqrt 1/2, sqrt 2), a least-maximum fit whose error stays below 0.00001 dB. */
SIMD_INLINE v4 decibel(v4 x) {
  static const float c[] = {-0x1.a71982p-3f, 0x1.49e2fap-2f,  -0x1.784f4ep-2f,
                            0x1.eada34p-2f,  -0x1.713832p-1f, 0x1.7155acp+0f};
  const i4 root_half = i4_set1(0x3f3504f3);
  const i4 exponent = i4_shift_right(i4_sub(v4_bits(x), root_half), 23);
  const v4 t = v4_sub(v4_from_bits(i4_sub(v4_bits(x), i4_shift_left(exponent, 23))), v4_set1(1));
  v4 poly = v4_set1(c[0]);
  for (size_t i = 1; i < sizeof c / sizeof *c; ++i) poly = v4_add(v4_mul(poly, t), v4_set1(c[i]));
  return v4_mul(v4_set1(3.01029995663981f), v4_add(v4_from_int(exponent), v4_mul(poly, t)));
}

/* Four bands side by side; a transposition turns four sums of four lanes into one vector of four bands. */
static void band_levels(const analysis *a, const float *power, int rows, float *db) {
  const float *w = a->weights;
  for (int b = 0; b < rows; b += 4) {
    const float *p0 = power + a->start[b], *p1 = power + a->start[b + 1], *p2 = power + a->start[b + 2],
                *p3 = power + a->start[b + 3];
    v4 sum0 = v4_set1(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (int i = 0; i < 4 * a->quads[b / 4]; i += 4, w += 16) {
      sum0 = v4_add(sum0, v4_mul(v4_load(p0 + i), v4_load(w)));
      sum1 = v4_add(sum1, v4_mul(v4_load(p1 + i), v4_load(w + 4)));
      sum2 = v4_add(sum2, v4_mul(v4_load(p2 + i), v4_load(w + 8)));
      sum3 = v4_add(sum3, v4_mul(v4_load(p3 + i), v4_load(w + 12)));
    }
    v4_transpose(&sum0, &sum1, &sum2, &sum3);
    const v4 total = v4_add(v4_add(sum0, sum1), v4_add(sum2, sum3));
    v4_store(db + b, decibel(v4_add(total, v4_set1(0x1p-40f))));
  }
}

/* The loudest value of all; rows that are only padding read -120 dB, which is below every floor. */
static float loudest(const float *db, int count) {
  v4 most = v4_load(db);
  for (int i = 4; i < count; i += 4) most = v4_max(most, v4_load(db + i));
  float lane[4], result;
  v4_store(lane, most);
  result = lane[0];
  for (int i = 1; i < 4; ++i) result = lane[i] > result ? lane[i] : result;
  return result;
}

static void quantize(const audio_frontend *f, int8_t *bins) {
  /* Adding 1.5 2^23 rounds to the nearest integer, ties to even, and leaves it in the low mantissa bits. */
  const v4 magic = v4_set1(12582912.0f), level = v4_set1(f->level), scale = v4_set1(1.0f / f->step);
  for (int w = 0; w < f->windows; ++w) {
    for (int b = 0; b < f->rows; b += 4) {
      v4 x = v4_mul(v4_sub(v4_load(f->db + w * f->rows + b), level), scale);
      x = v4_add(v4_max(v4_min(x, v4_set1(0)), v4_set1(-255)), magic);
      int32_t value[4];
      i4_store(value, i4_sub(v4_bits(x), v4_bits(magic)));
      for (int i = 0; i < 4 && b + i < f->bands; ++i)
        bins[(b + i) * f->windows + w] = (int8_t)(value[i] + 127);
    }
  }
}

static void analyse(audio_frontend *f, int8_t *bins, float *level) {
  for (int w = 0; w < f->windows; ++w) {
    const analysis *a = &f->analyses[w];
    fft_power(a->plan, f->history + f->end - a->length, a->window, a->length, f->scratch, f->power);
    memset(f->power + a->fft_bins, 0, sizeof(float) * (size_t)(a->reach - a->fft_bins));
    band_levels(a, f->power, f->rows, f->db + w * f->rows);
  }
  const float released = f->level - f->release, peak = loudest(f->db, f->windows * f->rows);
  f->level = peak > released ? peak : released;
  if (f->level < f->floor) f->level = f->floor;
  quantize(f, bins);
  *level = f->level;
}

void audio_frontend_push(audio_frontend *f, const float *samples, size_t count, int8_t *bins, float *level) {
  const size_t spectrum = audio_frontend_values(f);
  while (count > 0) {
    size_t take = (size_t)(f->hop - f->pending);
    if (take > count) take = count;
    if (f->end + (int)take > f->capacity) {
      memmove(f->history, f->history + f->end - f->longest, sizeof(float) * (size_t)f->longest);
      f->end = f->longest;
    }
    for (size_t i = 0; i < take; ++i) f->history[f->end + (int)i] = samples == NULL ? 0 : tame(samples[i]);
    if (samples != NULL) samples += take;
    count -= take;
    f->end += (int)take;
    f->pending += (int)take;
    if (f->pending == f->hop) {
      f->pending = 0;
      analyse(f, bins, level);
      bins += spectrum;
      level += 1;
    }
  }
}
