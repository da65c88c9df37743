/* Rectified strip: a picture's luma -> the key-aligned strip of five differences from the rest image.
 *
 * The geometry arrives as a table made once by the caller: for each strip pixel a 4 x 4 patch of the picture
 * and its 16 weights, which sum to 255 (0 outside the picture). Integers only: the same bits on every
 * processor. */
#ifndef IVORIES_STRIP_H
#define IVORIES_STRIP_H

#include <stddef.h>

#include "rest_image.h"

enum { STRIP_FRAMES = 5, STRIP_CHANNELS = STRIP_FRAMES + 1, STRIP_TAPS = 16, STRIP_PATCH = 4 };

/* Raised with every change that changes a bit of what comes out. */
enum { STRIP_KERNEL_REVISION = 1 };

typedef struct strip strip;

/* corner (pixels, 2): x, y of each patch's first pixel, the patch inside width x height; weights (pixels,
 * 16), row by row of the patch; both copied. NULL when memory is short or a patch leaves the picture. */
strip *strip_new(const rest_spec *spec, int width, int height, const uint16_t *corner,
                 const uint8_t *weights);
void strip_free(strip *s);
void strip_reset(strip *s);

/* Take one picture (height rows, `stride` bytes apart; may be negative). Returns true, with out
 * (rows, keys * columns, STRIP_CHANNELS) filled, once the rest image and five frames are there. No
 * allocation. */
bool strip_push(strip *s, const uint8_t *luma, ptrdiff_t stride, int64_t t_ns, int8_t *out);

/* The same for luma that is rectified already, (rows, keys * columns). */
bool strip_push_rectified(strip *s, const uint8_t *luma, int64_t t_ns, int8_t *out);

/* The newest rectified luma (rows, keys * columns). */
const uint8_t *strip_luma(const strip *s);
rest_image *strip_rest(strip *s);

#endif
