/* Power spectrum of real samples, four lanes wide.
 *
 * N real samples are read as N/2 complex ones. Lane l transforms every fourth of them, starting at l, with a
 * Stockham radix-4 transform (W. T. Cochran et al., "What is the fast Fourier transform?", 1967, describes
 * the self-sorting form): all lanes do the same work, so no shuffle is needed until one last radix-4 step
 * joins the lanes through a transposition. The spectrum of the real signal is then split off in the usual
 * way.
 */
#ifndef IVORIES_FFT_H
#define IVORIES_FFT_H

#include <stddef.h>

enum { FFT_SMALLEST = 32, FFT_LARGEST = 8192 };

typedef struct fft fft;

/* A transform of `size` real samples (a power of two, FFT_SMALLEST..FFT_LARGEST). `circle` holds cos and
 * -sin of 2 pi k / points, k = 0..points-1, side by side; `points` is a multiple of `size`. The table is
 * copied. Returns NULL when the size does not fit or memory is short. */
fft *fft_new(int size, const float *circle, int points);
void fft_free(fft *plan);

/* Floats of scratch memory that fft_power needs. */
size_t fft_scratch(const fft *plan);

/* power[k] = |sum_n samples[n] window[n] exp(-2 pi i k n / size)|^2 for k = 0..size/2. `length` samples are
 * windowed (a multiple of 8, at most `size`), the rest of the transform is zero. `power` has room for
 * size/2 + 1 floats. */
void fft_power(const fft *plan, const float *samples, const float *window, int length, float *scratch,
               float *power);

#endif
