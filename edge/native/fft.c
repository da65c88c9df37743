#include "fft.h"

#include <stdlib.h>
#include <string.h>

#include "simd.h"

/* Tables as the stages read them: `stages` holds, for every radix-4 stage and every p, the three factors w^p,
 * w^2p, w^3p as (re, im); `join` and `split` hold planes of cosines and sines. */
struct fft {
  int size;   /* N, real samples */
  int points; /* M = N/2, complex */
  int lane;   /* L = M/4, complex per lane */
  float *stages;
  float *join;  /* 6 planes of L: re and im of W_M^k, W_M^2k, W_M^3k */
  float *split; /* 2 planes of M/2: re and im of W_N^k */
};

fft *fft_new(int size, const float *circle, int points) {
  if (size < FFT_SMALLEST || size > FFT_LARGEST || (size & (size - 1)) != 0 || points % size != 0)
    return NULL;
  fft *plan = calloc(1, sizeof *plan);
  if (plan == NULL) return NULL;
  const int half = size / 2, lane = half / 4;
  plan->size = size, plan->points = half, plan->lane = lane;
  plan->stages = malloc(sizeof(float) * 2 * (size_t)lane); /* 6 (L/4 + L/16 + ...) < 2 L */
  plan->join = malloc(sizeof(float) * 6 * (size_t)lane);
  plan->split = malloc(sizeof(float) * (size_t)half);
  if (plan->stages == NULL || plan->join == NULL || plan->split == NULL) {
    fft_free(plan);
    return NULL;
  }
  float *stage = plan->stages;
  for (int n = lane; n >= 4; n /= 4) {
    for (int p = 0; p < n / 4; ++p) {
      for (int power = 1; power <= 3; ++power, stage += 2) {
        memcpy(stage, circle + 2 * (size_t)(points / n) * (size_t)(power * p), 2 * sizeof(float));
      }
    }
  }
  for (int k = 0; k < lane; ++k) {
    for (int power = 1; power <= 3; ++power) {
      const float *w = circle + 2 * (size_t)(points / half) * (size_t)(power * k);
      plan->join[(2 * power - 2) * lane + k] = w[0];
      plan->join[(2 * power - 1) * lane + k] = w[1];
    }
  }
  for (int k = 0; k < half / 2; ++k) {
    const float *w = circle + 2 * (size_t)(points / size) * (size_t)k;
    plan->split[k] = w[0];
    plan->split[half / 2 + k] = w[1];
  }
  return plan;
}

void fft_free(fft *plan) {
  if (plan == NULL) return;
  free(plan->stages);
  free(plan->join);
  free(plan->split);
  free(plan);
}

/* Two buffers of M complex numbers; the joined spectrum needs one more at its end. */
size_t fft_scratch(const fft *plan) { return 4 * (size_t)plan->points + 16; }

typedef struct {
  v4 re, im;
} complex4;

SIMD_INLINE complex4 load(const float *p) { return (complex4){v4_load(p), v4_load(p + 4)}; }

SIMD_INLINE void store(float *p, complex4 a) {
  v4_store(p, a.re);
  v4_store(p + 4, a.im);
}

SIMD_INLINE complex4 add(complex4 a, complex4 b) {
  return (complex4){v4_add(a.re, b.re), v4_add(a.im, b.im)};
}

SIMD_INLINE complex4 sub(complex4 a, complex4 b) {
  return (complex4){v4_sub(a.re, b.re), v4_sub(a.im, b.im)};
}

SIMD_INLINE complex4 mul(complex4 a, v4 re, v4 im) {
  return (complex4){v4_sub(v4_mul(a.re, re), v4_mul(a.im, im)), v4_add(v4_mul(a.re, im), v4_mul(a.im, re))};
}

/* a + (-i)^r b + (-1)^r c + i^r d for r = 0..3, into out[0..3] */
SIMD_INLINE void radix4(complex4 a, complex4 b, complex4 c, complex4 d, complex4 out[4]) {
  const complex4 ac = add(a, c), amc = sub(a, c), bd = add(b, d), bmd = sub(b, d);
  out[0] = add(ac, bd);
  out[1] = (complex4){v4_add(amc.re, bmd.im), v4_sub(amc.im, bmd.re)};
  out[2] = sub(ac, bd);
  out[3] = (complex4){v4_sub(amc.re, bmd.im), v4_add(amc.im, bmd.re)};
}

/* Window the samples; element n of lane l becomes complex sample 4 n + l, stored as 4 re then 4 im. */
static void window_samples(const fft *plan, const float *samples, const float *window, int length, float *x) {
  for (int n = 0; n < length; n += 8) {
    complex4 s, w;
    v4_load_pairs(samples + n, &s.re, &s.im);
    v4_load_pairs(window + n, &w.re, &w.im);
    store(x + n, (complex4){v4_mul(s.re, w.re), v4_mul(s.im, w.im)});
  }
  memset(x + length, 0, sizeof(float) * (size_t)(plan->size - length));
}

/* One butterfly column: `stride` floats at each of four places a quarter apart. */
SIMD_INLINE void column(const float *in, size_t quarter, float *out, size_t stride, const float *w,
                        int turn) {
  const v4 w1r = v4_set1(w[0]), w1i = v4_set1(w[1]), w2r = v4_set1(w[2]), w2i = v4_set1(w[3]),
           w3r = v4_set1(w[4]), w3i = v4_set1(w[5]);
  for (size_t q = 0; q < stride; q += 8) {
    complex4 r[4];
    radix4(load(in + q), load(in + q + quarter), load(in + q + 2 * quarter), load(in + q + 3 * quarter), r);
    store(out + q, r[0]);
    store(out + q + stride, turn ? mul(r[1], w1r, w1i) : r[1]);
    store(out + q + 2 * stride, turn ? mul(r[2], w2r, w2i) : r[2]);
    store(out + q + 3 * stride, turn ? mul(r[3], w3r, w3i) : r[3]);
  }
}

/* The four transforms of L points, side by side; returns where the result lies: x or y. */
static float *transform_lanes(const fft *plan, float *x, float *y) {
  const float *w = plan->stages;
  size_t stride = 8; /* floats between elements of one sub-transform */
  int n = plan->lane;
  for (; n >= 4; n /= 4, stride *= 4) {
    const size_t quarter = stride * (size_t)(n / 4);
    column(x, quarter, y, stride, w, 0); /* the first factors are 1, and the last stage has no others */
    w += 6;
    for (size_t p = 1; p < (size_t)n / 4; ++p, w += 6) {
      column(x + stride * p, quarter, y + 4 * stride * p, stride, w, 1);
    }
    float *swap = x;
    x = y, y = swap;
  }
  if (n == 2) {
    for (size_t q = 0; q < stride; q += 8) {
      const complex4 a = load(x + q), b = load(x + q + stride);
      store(y + q, add(a, b));
      store(y + q + stride, sub(a, b));
    }
    return y;
  }
  return x;
}

/* Join the lanes: Z[k + r L] = sum_l (-i)^(l r) W_M^(l k) x_l[k], as planes re and im with Z[M] = Z[0]. */
static void join_lanes(const fft *plan, const float *x, float *re, float *im) {
  const size_t lane = (size_t)plan->lane;
  const float *w = plan->join;
  for (size_t k = 0; k < lane; k += 4) {
    complex4 a = load(x + 8 * k), b = load(x + 8 * k + 8), c = load(x + 8 * k + 16), d = load(x + 8 * k + 24);
    v4_transpose(&a.re, &b.re, &c.re, &d.re);
    v4_transpose(&a.im, &b.im, &c.im, &d.im);
    complex4 z[4];
    radix4(a, mul(b, v4_load(w + k), v4_load(w + lane + k)),
           mul(c, v4_load(w + 2 * lane + k), v4_load(w + 3 * lane + k)),
           mul(d, v4_load(w + 4 * lane + k), v4_load(w + 5 * lane + k)), z);
    for (size_t r = 0; r < 4; ++r) {
      v4_store(re + r * lane + k, z[r].re);
      v4_store(im + r * lane + k, z[r].im);
    }
  }
  re[plan->points] = re[0];
  im[plan->points] = im[0];
}

/* With E = Z[k] + conj Z[M-k] and O = -i (Z[k] - conj Z[M-k]): 2 X[k] = E + W O, 2 X[M-k] = conj(E - W O). */
static void split_power(const fft *plan, const float *re, const float *im, float *power) {
  const int points = plan->points;
  const v4 quarter = v4_set1(0.25f);
  for (int k = 0; k < points / 2; k += 4) {
    const int mirror = points - k - 3;
    const v4 ar = v4_load(re + k), ai = v4_load(im + k);
    const v4 br = v4_reverse(v4_load(re + mirror)), bi = v4_reverse(v4_load(im + mirror));
    const complex4 even = {v4_add(ar, br), v4_sub(ai, bi)}, odd = {v4_add(ai, bi), v4_sub(br, ar)};
    const complex4 turned = mul(odd, v4_load(plan->split + k), v4_load(plan->split + points / 2 + k));
    const complex4 low = add(even, turned), high = sub(even, turned);
    v4_store(power + k, v4_mul(quarter, v4_add(v4_mul(low.re, low.re), v4_mul(low.im, low.im))));
    v4_store(power + mirror,
             v4_reverse(v4_mul(quarter, v4_add(v4_mul(high.re, high.re), v4_mul(high.im, high.im)))));
  }
  power[points / 2] = re[points / 2] * re[points / 2] + im[points / 2] * im[points / 2];
}

void fft_power(const fft *plan, const float *samples, const float *window, int length, float *scratch,
               float *power) {
  float *x = scratch, *y = scratch + 2 * (size_t)plan->points + 8;
  window_samples(plan, samples, window, length, x);
  const float *lanes = transform_lanes(plan, x, y);
  float *planes = lanes == x ? y : x;
  /* re takes M + 1 floats and im M + 1: with 4 between them the planes fit the M complex + 8 floats. */
  join_lanes(plan, lanes, planes, planes + plan->points + 4);
  split_power(plan, planes, planes + plan->points + 4, power);
}
