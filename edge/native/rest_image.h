/* The rest image: what the keyboard looks like with nothing pressed, learnt and kept up from the stream.
 *
 * All arithmetic is on integers, so every processor computes the same bits. Time enters through the frames'
 * time stamps alone: work is done once per tick (a fixed stretch of time) on the mean picture of the tick. */
#ifndef IVORIES_REST_IMAGE_H
#define IVORIES_REST_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

enum { REST_BITS = 7, REST_ONE = 1 << REST_BITS, GAIN_ONE = 32768 };

typedef struct {
  int32_t rows, keys, columns;  /* strip geometry: keys blocks of `columns` columns */
  int32_t back_first, back_end; /* rows judged for light: the part of the keys that hands cover least */
  int64_t tick_ns, start_ns;    /* stretch of one mean picture; length of the first learning */
  int64_t light_ns;             /* time constant of small changes of the light */
  int32_t still, near, busy;    /* levels: unmoved within, at rest within, changed beyond */
  int32_t jump;                 /* levels: a change of the light beyond this is followed at once */
  int32_t busy_permille;        /* share of a block's pixels that makes it busy (pressed or covered) */
  int32_t scene_permille;       /* share of busy blocks that makes a new scene (lamp switched) */
  int32_t settle;               /* ticks unmoved before a pixel at rest is followed */
  int32_t follow;               /* ticks: time constant of following */
  int32_t trust;                /* a rest level outlives so many times the ticks it was seen, ... */
  int32_t recover;              /* at most: ticks unmoved after which another level takes its place */
  int32_t replace;              /* the same in a new scene */
  int32_t ghost_permille;       /* share of a block's pixels that other octaves must prove wrong together */
} rest_spec;

typedef struct rest_image rest_image;

/* `inside` (rows * keys * columns) is 255 where the pixel lies in the picture, else 0; copied.
 * NULL when memory is short. */
rest_image *rest_image_new(const rest_spec *spec, const uint8_t *inside);
void rest_image_free(rest_image *rest);
void rest_image_reset(rest_image *rest);

/* Take one strip of luma at t_ns; afterwards rest_image_ready tells whether differences can be had. */
void rest_image_push(rest_image *rest, const uint8_t *luma, int64_t t_ns);
bool rest_image_ready(const rest_image *rest);

/* One row of luma minus rest under the present light, limited to -128..127, 0 outside the picture. */
void rest_image_difference(const rest_image *rest, int row, const uint8_t *luma_row, int8_t *out);

void rest_image_set(rest_image *rest, const uint8_t *pixels);
void rest_image_get(const rest_image *rest, uint8_t *pixels);

#endif
