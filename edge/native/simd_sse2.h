/* Four lanes on SSE2, which every x86-64 has. See simd.h for the vocabulary. */
#include <emmintrin.h>

#define SIMD_NAME "sse2"

typedef __m128 v4;
typedef __m128i i4;

SIMD_INLINE v4 v4_load(const float *p) { return _mm_loadu_ps(p); }
SIMD_INLINE void v4_store(float *p, v4 a) { _mm_storeu_ps(p, a); }
SIMD_INLINE v4 v4_set1(float x) { return _mm_set1_ps(x); }
SIMD_INLINE v4 v4_add(v4 a, v4 b) { return _mm_add_ps(a, b); }
SIMD_INLINE v4 v4_sub(v4 a, v4 b) { return _mm_sub_ps(a, b); }
SIMD_INLINE v4 v4_mul(v4 a, v4 b) { return _mm_mul_ps(a, b); }
SIMD_INLINE v4 v4_max(v4 a, v4 b) { return _mm_max_ps(a, b); }
SIMD_INLINE v4 v4_min(v4 a, v4 b) { return _mm_min_ps(a, b); }
SIMD_INLINE v4 v4_reverse(v4 a) { return _mm_shuffle_ps(a, a, _MM_SHUFFLE(0, 1, 2, 3)); }

SIMD_INLINE void v4_load_pairs(const float *p, v4 *a, v4 *b) {
  v4 low = _mm_loadu_ps(p), high = _mm_loadu_ps(p + 4);
  *a = _mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0));
  *b = _mm_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1));
}

SIMD_INLINE void v4_transpose(v4 *a, v4 *b, v4 *c, v4 *d) { _MM_TRANSPOSE4_PS(*a, *b, *c, *d); }

SIMD_INLINE i4 v4_bits(v4 a) { return _mm_castps_si128(a); }
SIMD_INLINE v4 v4_from_bits(i4 a) { return _mm_castsi128_ps(a); }
SIMD_INLINE v4 v4_from_int(i4 a) { return _mm_cvtepi32_ps(a); }
SIMD_INLINE i4 i4_set1(int32_t x) { return _mm_set1_epi32(x); }
SIMD_INLINE i4 i4_add(i4 a, i4 b) { return _mm_add_epi32(a, b); }
SIMD_INLINE i4 i4_sub(i4 a, i4 b) { return _mm_sub_epi32(a, b); }
SIMD_INLINE void i4_store(int32_t *p, i4 a) { _mm_storeu_si128((__m128i *)p, a); }
#define i4_shift_left(a, n) _mm_slli_epi32(a, n)
#define i4_shift_right(a, n) _mm_srai_epi32(a, n)
