/* Four lanes in plain C: the reference that the other headers must equal bit for bit. See simd.h. */
#include <string.h>

#define SIMD_NAME "scalar"

typedef struct {
  float lane[4];
} v4;

typedef struct {
  int32_t lane[4];
} i4;

#define SIMD_LANES(type, expression)                           \
  do {                                                         \
    type result;                                               \
    for (int i = 0; i < 4; ++i) result.lane[i] = (expression); \
    return result;                                             \
  } while (0)

SIMD_INLINE v4 v4_load(const float *p) { SIMD_LANES(v4, p[i]); }
SIMD_INLINE void v4_store(float *p, v4 a) { memcpy(p, a.lane, sizeof a.lane); }
SIMD_INLINE v4 v4_set1(float x) { SIMD_LANES(v4, x); }
SIMD_INLINE v4 v4_add(v4 a, v4 b) { SIMD_LANES(v4, a.lane[i] + b.lane[i]); }
SIMD_INLINE v4 v4_sub(v4 a, v4 b) { SIMD_LANES(v4, a.lane[i] - b.lane[i]); }
SIMD_INLINE v4 v4_mul(v4 a, v4 b) { SIMD_LANES(v4, a.lane[i] * b.lane[i]); }
SIMD_INLINE v4 v4_max(v4 a, v4 b) { SIMD_LANES(v4, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]); }
SIMD_INLINE v4 v4_min(v4 a, v4 b) { SIMD_LANES(v4, a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]); }
SIMD_INLINE v4 v4_reverse(v4 a) { SIMD_LANES(v4, a.lane[3 - i]); }

SIMD_INLINE void v4_load_pairs(const float *p, v4 *a, v4 *b) {
  for (int i = 0; i < 4; ++i) {
    a->lane[i] = p[2 * i];
    b->lane[i] = p[2 * i + 1];
  }
}

SIMD_INLINE void v4_transpose(v4 *a, v4 *b, v4 *c, v4 *d) {
  const v4 rows[4] = {*a, *b, *c, *d};
  for (int i = 0; i < 4; ++i) {
    a->lane[i] = rows[i].lane[0];
    b->lane[i] = rows[i].lane[1];
    c->lane[i] = rows[i].lane[2];
    d->lane[i] = rows[i].lane[3];
  }
}

SIMD_INLINE i4 v4_bits(v4 a) {
  i4 result;
  memcpy(&result, &a, sizeof result);
  return result;
}

SIMD_INLINE v4 v4_from_bits(i4 a) {
  v4 result;
  memcpy(&result, &a, sizeof result);
  return result;
}

SIMD_INLINE v4 v4_from_int(i4 a) { SIMD_LANES(v4, (float)a.lane[i]); }
SIMD_INLINE i4 i4_set1(int32_t x) { SIMD_LANES(i4, x); }
SIMD_INLINE i4 i4_add(i4 a, i4 b) { SIMD_LANES(i4, (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i])); }
SIMD_INLINE i4 i4_sub(i4 a, i4 b) { SIMD_LANES(i4, (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i])); }
SIMD_INLINE void i4_store(int32_t *p, i4 a) { memcpy(p, a.lane, sizeof a.lane); }
SIMD_INLINE i4 i4_shift_left(i4 a, int n) { SIMD_LANES(i4, (int32_t)((uint32_t)a.lane[i] << n)); }
/* Arithmetic on every compiler we build with (gcc, clang). */
SIMD_INLINE i4 i4_shift_right(i4 a, int n) { SIMD_LANES(i4, a.lane[i] >> n); }
