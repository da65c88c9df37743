/* Polyphase resampling by the ratio up / down with the least possible wait: an output is ready half a filter
 * after its place in the input. */
#ifndef IVORIES_RESAMPLE_H
#define IVORIES_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

/* out[m] = sum_j filter[phase][j] x[place + j], where place = (first + m down) / up and phase is the
 * remainder. filter is [up][taps], taps a multiple of 4. The caller sees to it that x reaches far enough. */
void resample(const float *x, const float *filter, int taps, int64_t up, int64_t down, int64_t first,
              float *out, size_t count);

#endif
