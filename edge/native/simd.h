/* Four float lanes, one vocabulary, one short header per instruction set.
 *
 * The algorithms of this folder are *defined* on four lanes: an operation works lane by lane in IEEE single
 * precision, rounding to nearest, and nothing is contracted (-ffp-contract=off). Every header therefore gives
 * the same bits; simd_scalar.h is the reference. Define IVORIES_SCALAR to force it.
 *
 *   v4                     four floats;  i4: four int32
 *   v4_load, v4_store      memory of any alignment
 *   v4_load_pairs(p,&a,&b) a = p[0,2,4,6], b = p[1,3,5,7]
 *   v4_set1, i4_set1       one value in all lanes
 *   v4_add, v4_sub, v4_mul, i4_add, i4_sub
 *   v4_max, v4_min         for numbers only: NaN must have been removed before
 *   v4_reverse             lanes 3, 2, 1, 0
 *   v4_transpose(&a..&d)   the 4 x 4 matrix of rows a..d
 *   v4_bits, v4_from_bits  reinterpret;  v4_from_int: convert
 *   i4_shift_left, i4_shift_right (arithmetic) by a constant;  i4_store
 */
#ifndef IVORIES_SIMD_H
#define IVORIES_SIMD_H

#include <float.h>
#include <stdint.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float arithmetic must round to float at every step (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif
#ifdef __FAST_MATH__
#error "the front ends promise the same bits everywhere: build without -ffast-math"
#endif

#define SIMD_INLINE static inline __attribute__((always_inline, unused))

#if defined(IVORIES_SCALAR)
#include "simd_scalar.h"
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include "simd_neon.h"
#elif defined(__SSE2__)
#include "simd_sse2.h"
#else
#include "simd_scalar.h"
#endif

#endif
