/* Four lanes on NEON of 64-bit Arm. (32-bit NEON flushes small numbers to zero, so it takes simd_scalar.h.)
 * See simd.h for the vocabulary. */
#include <arm_neon.h>

#define SIMD_NAME "neon"

typedef float32x4_t v4;
typedef int32x4_t i4;

SIMD_INLINE v4 v4_load(const float *p) { return vld1q_f32(p); }
SIMD_INLINE void v4_store(float *p, v4 a) { vst1q_f32(p, a); }
SIMD_INLINE v4 v4_set1(float x) { return vdupq_n_f32(x); }
SIMD_INLINE v4 v4_add(v4 a, v4 b) { return vaddq_f32(a, b); }
SIMD_INLINE v4 v4_sub(v4 a, v4 b) { return vsubq_f32(a, b); }
SIMD_INLINE v4 v4_mul(v4 a, v4 b) { return vmulq_f32(a, b); }
SIMD_INLINE v4 v4_max(v4 a, v4 b) { return vmaxq_f32(a, b); }
SIMD_INLINE v4 v4_min(v4 a, v4 b) { return vminq_f32(a, b); }

SIMD_INLINE v4 v4_reverse(v4 a) {
  v4 swapped = vrev64q_f32(a);
  return vextq_f32(swapped, swapped, 2);
}

SIMD_INLINE void v4_load_pairs(const float *p, v4 *a, v4 *b) {
  float32x4x2_t pairs = vld2q_f32(p);
  *a = pairs.val[0];
  *b = pairs.val[1];
}

SIMD_INLINE void v4_transpose(v4 *a, v4 *b, v4 *c, v4 *d) {
  float32x4x2_t ab = vtrnq_f32(*a, *b), cd = vtrnq_f32(*c, *d);
  *a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  *b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  *c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  *d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}

SIMD_INLINE i4 v4_bits(v4 a) { return vreinterpretq_s32_f32(a); }
SIMD_INLINE v4 v4_from_bits(i4 a) { return vreinterpretq_f32_s32(a); }
SIMD_INLINE v4 v4_from_int(i4 a) { return vcvtq_f32_s32(a); }
SIMD_INLINE i4 i4_set1(int32_t x) { return vdupq_n_s32(x); }
SIMD_INLINE i4 i4_add(i4 a, i4 b) { return vaddq_s32(a, b); }
SIMD_INLINE i4 i4_sub(i4 a, i4 b) { return vsubq_s32(a, b); }
SIMD_INLINE void i4_store(int32_t *p, i4 a) { vst1q_s32(p, a); }
#define i4_shift_left(a, n) vshlq_n_s32(a, n)
#define i4_shift_right(a, n) vshrq_n_s32(a, n)
