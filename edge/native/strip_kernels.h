/* The two loops of the strip that compilers do not vectorize well: gathering patches and interleaving
 * channels. Each is written for SSE2, NEON and plain C; integers make them equal by construction. */
#ifndef IVORIES_STRIP_KERNELS_H
#define IVORIES_STRIP_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(IVORIES_SCALAR) && defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#define STRIP_NEON 1
#elif !defined(IVORIES_SCALAR) && defined(__SSE2__)
#include <emmintrin.h>
#define STRIP_SSE2 1
#endif

/* v / 255 to nearest, exact for 0..65025 */
static inline uint8_t by_255(uint32_t v) {
  v += 128;
  return (uint8_t)((v + (v >> 8)) >> 8);
}

static inline uint32_t load_32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

static inline uint32_t load_16_pair(const uint8_t *p, const uint8_t *q) {
  uint16_t a, b;
  memcpy(&a, p, 2);
  memcpy(&b, q, 2);
  return a | (uint32_t)b << 16;
}

static inline uint8_t patch(const uint8_t *p, ptrdiff_t stride, const uint8_t *w, int size) {
  uint32_t sum = 0;
  for (int y = 0; y < size; y++)
    for (int x = 0; x < size; x++) sum += (uint32_t)p[y * stride + x] * w[size * y + x];
  return by_255(sum);
}

#if defined(STRIP_SSE2)

static inline __m128i by_255_sse2(__m128i v) {
  v = _mm_add_epi32(v, _mm_set1_epi32(128));
  return _mm_srli_epi32(_mm_add_epi32(v, _mm_srli_epi32(v, 8)), 8);
}

static inline void store_4(uint8_t *out, __m128i v) {
  v = _mm_packs_epi32(v, v);
  int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(v, v));
  memcpy(out, &four, 4);
}

static inline __m128i wide_sse2(const uint8_t *p, ptrdiff_t stride, const uint8_t *w) {
  const __m128i zero = _mm_setzero_si128();
  __m128i top = _mm_unpacklo_epi32(_mm_cvtsi32_si128((int32_t)load_32(p)),
                                   _mm_cvtsi32_si128((int32_t)load_32(p + stride)));
  __m128i low = _mm_unpacklo_epi32(_mm_cvtsi32_si128((int32_t)load_32(p + 2 * stride)),
                                   _mm_cvtsi32_si128((int32_t)load_32(p + 3 * stride)));
  __m128i weight = _mm_loadu_si128((const __m128i *)w);
  return _mm_add_epi32(_mm_madd_epi16(_mm_unpacklo_epi8(top, zero), _mm_unpacklo_epi8(weight, zero)),
                       _mm_madd_epi16(_mm_unpacklo_epi8(low, zero), _mm_unpackhi_epi8(weight, zero)));
}

static void gather_wide(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                        uint8_t *out, int n) {
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    const uint8_t *w = weights + (size_t)i * 16;
    __m128i a = wide_sse2(luma + base[i], stride, w), b = wide_sse2(luma + base[i + 1], stride, w + 16);
    __m128i c = wide_sse2(luma + base[i + 2], stride, w + 32),
            d = wide_sse2(luma + base[i + 3], stride, w + 48);
    __m128i ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    __m128i cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    store_4(out + i, by_255_sse2(_mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd))));
  }
  for (; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 16, 4);
}

static inline __m128i narrow_sse2(const uint8_t *p, const uint8_t *q, ptrdiff_t stride) {
  return _mm_unpacklo_epi32(_mm_cvtsi32_si128((int32_t)load_16_pair(p, p + stride)),
                            _mm_cvtsi32_si128((int32_t)load_16_pair(q, q + stride)));
}

static void gather_narrow(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                          uint8_t *out, int n) {
  const __m128i zero = _mm_setzero_si128();
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    __m128i weight = _mm_loadu_si128((const __m128i *)(weights + (size_t)i * 4));
    __m128i ab = narrow_sse2(luma + base[i], luma + base[i + 1], stride);
    __m128i cd = narrow_sse2(luma + base[i + 2], luma + base[i + 3], stride);
    ab = _mm_madd_epi16(_mm_unpacklo_epi8(ab, zero), _mm_unpacklo_epi8(weight, zero));
    cd = _mm_madd_epi16(_mm_unpacklo_epi8(cd, zero), _mm_unpackhi_epi8(weight, zero));
    __m128 x = _mm_castsi128_ps(ab), y = _mm_castsi128_ps(cd);
    store_4(out + i,
            by_255_sse2(_mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0))),
                                      _mm_castps_si128(_mm_shuffle_ps(x, y, _MM_SHUFFLE(3, 1, 3, 1))))));
  }
  for (; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 4, 2);
}

#elif defined(STRIP_NEON)

static inline uint8x8_t pair_32(uint32_t a, uint32_t b) { return vcreate_u8(a | (uint64_t)b << 32); }

static inline uint16x8_t wide_neon(const uint8_t *p, ptrdiff_t stride, const uint8_t *w) {
  uint8x16_t weight = vld1q_u8(w);
  uint16x8_t sum = vmull_u8(pair_32(load_32(p), load_32(p + stride)), vget_low_u8(weight));
  return vmlal_u8(sum, pair_32(load_32(p + 2 * stride), load_32(p + 3 * stride)), vget_high_u8(weight));
}

static inline void store_8(uint8_t *out, uint16x8_t v) {
  v = vaddq_u16(v, vdupq_n_u16(128));
  vst1_u8(out, vshrn_n_u16(vsraq_n_u16(v, v, 8), 8));
}

static void gather_wide(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                        uint8_t *out, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint8_t *w = weights + (size_t)i * 16;
    uint16x8_t four[2];
    for (int k = 0; k < 2; k++, w += 64) {
      const int32_t *b = base + i + 4 * k;
      four[k] = vpaddq_u16(
          vpaddq_u16(wide_neon(luma + b[0], stride, w), wide_neon(luma + b[1], stride, w + 16)),
          vpaddq_u16(wide_neon(luma + b[2], stride, w + 32), wide_neon(luma + b[3], stride, w + 48)));
    }
    store_8(out + i, vpaddq_u16(four[0], four[1]));
  }
  for (; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 16, 4);
}

static void gather_narrow(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                          uint8_t *out, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    uint16x8_t two[4];
    for (int k = 0; k < 4; k++) {
      const uint8_t *p = luma + base[i + 2 * k], *q = luma + base[i + 2 * k + 1];
      two[k] = vmull_u8(pair_32(load_16_pair(p, p + stride), load_16_pair(q, q + stride)),
                        vld1_u8(weights + (size_t)(i + 2 * k) * 4));
    }
    store_8(out + i, vpaddq_u16(vpaddq_u16(two[0], two[1]), vpaddq_u16(two[2], two[3])));
  }
  for (; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 4, 2);
}

#else

static void gather_wide(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                        uint8_t *out, int n) {
  for (int i = 0; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 16, 4);
}

static void gather_narrow(const uint8_t *luma, ptrdiff_t stride, const int32_t *base, const uint8_t *weights,
                          uint8_t *out, int n) {
  for (int i = 0; i < n; i++) out[i] = patch(luma + base[i], stride, weights + (size_t)i * 4, 2);
}

#endif

/* Five planes of differences and the luma -> six channels, channel-last. */
static void interleave(const int8_t *const plane[5], const uint8_t *luma, const uint8_t *inside, int8_t *out,
                       int n) {
  int i = 0;
#if defined(STRIP_SSE2)
  /* Each 8-byte store carries one pixel and two bytes that the next store overwrites; the last stays scalar.
   */
  for (; i + 16 < n; i += 16) {
    __m128i p[6];
    for (int k = 0; k < 5; k++) p[k] = _mm_loadu_si128((const __m128i *)(plane[k] + i));
    p[5] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(luma + i)), _mm_set1_epi8(-128));
    p[5] = _mm_and_si128(p[5], _mm_loadu_si128((const __m128i *)(inside + i)));
    __m128i ab[2] = {_mm_unpacklo_epi8(p[0], p[1]), _mm_unpackhi_epi8(p[0], p[1])};
    __m128i cd[2] = {_mm_unpacklo_epi8(p[2], p[3]), _mm_unpackhi_epi8(p[2], p[3])};
    __m128i ef[2] = {_mm_unpacklo_epi8(p[4], p[5]), _mm_unpackhi_epi8(p[4], p[5])};
    int8_t *to = out + (size_t)i * 6;
    for (int h = 0; h < 2; h++) {
      __m128i abcd[2] = {_mm_unpacklo_epi16(ab[h], cd[h]), _mm_unpackhi_epi16(ab[h], cd[h])};
      __m128i last[2] = {_mm_unpacklo_epi16(ef[h], ef[h]), _mm_unpackhi_epi16(ef[h], ef[h])};
      for (int q = 0; q < 2; q++) {
        __m128i two[2] = {_mm_unpacklo_epi32(abcd[q], last[q]), _mm_unpackhi_epi32(abcd[q], last[q])};
        for (int r = 0; r < 2; r++, to += 12) {
          _mm_storel_epi64((__m128i *)to, two[r]);
          _mm_storel_epi64((__m128i *)(to + 6), _mm_srli_si128(two[r], 8));
        }
      }
    }
  }
#elif defined(STRIP_NEON)
  for (; i + 16 <= n; i += 16) {
    int8x16_t e = vld1q_s8(plane[4] + i);
    uint8x16_t f = vandq_u8(veorq_u8(vld1q_u8(luma + i), vdupq_n_u8(128)), vld1q_u8(inside + i));
    int8x16x2_t ab = vzipq_s8(vld1q_s8(plane[0] + i), vld1q_s8(plane[1] + i));
    int8x16x2_t cd = vzipq_s8(vld1q_s8(plane[2] + i), vld1q_s8(plane[3] + i));
    int8x16x2_t ef = vzipq_s8(e, vreinterpretq_s8_u8(f));
    for (int h = 0; h < 2; h++) {
      int16x8x3_t six = {{vreinterpretq_s16_s8(ab.val[h]), vreinterpretq_s16_s8(cd.val[h]),
                          vreinterpretq_s16_s8(ef.val[h])}};
      vst3q_s16((int16_t *)(void *)(out + (size_t)(i + 8 * h) * 6), six);
    }
  }
#endif
  for (; i < n; i++) {
    for (int k = 0; k < 5; k++) out[(size_t)i * 6 + (size_t)k] = plane[k][i];
    out[(size_t)i * 6 + 5] = (int8_t)((luma[i] ^ 128) & inside[i]);
  }
}

#endif
