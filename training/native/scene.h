/* A piano keyboard with hands, seen by a pinhole camera.
 *
 * Millimetres; x to the right from the left side of A0, y towards the player from the fallboard, z up from
 * the tops of the white keys at rest. The keyboard is a height field z(x, y) that dips key by key; hands are
 * capsules above it. */
#ifndef IVORIES_TRAINING_SCENE_H
#define IVORIES_TRAINING_SCENE_H

#include <stddef.h>
#include <stdint.h>

enum { IVT_KEYS = 88, IVT_WHITES = 52, IVT_MAX_CAPSULES = 64, IVT_MAX_LIGHTS = 4, IVT_MAX_SAMPLES = 4 };
enum { IVT_HAND = 254, IVT_OTHER = 255 }; /* labels of pixels that show no key */

/* Everything about the instrument, the room and its surfaces that is one number. (The formatter never comes
 * to rest on these lines.) */
// clang-format off
#define IVT_BODY_FIELDS(X) \
  X(white_width) X(white_length) X(white_gap) X(white_pivot) X(white_albedo) X(front_albedo) \
  X(black_width) X(black_length) X(black_height) X(black_bevel) X(black_slope) X(black_pivot) \
  X(black_albedo) X(black_gap) X(gap_depth) X(gap_albedo) X(side_albedo) X(fallboard_height) \
  X(fallboard_albedo) X(felt_depth) X(felt_albedo) X(slip_gap) X(slip_height) X(slip_width) \
  X(slip_albedo) X(cheek_height) X(cheek_width) X(cheek_albedo) X(body_back) X(floor_albedo) \
  X(floor_contrast) X(ambient) X(occlusion) X(white_gloss) X(black_gloss) X(sky) X(window_x) \
  X(window_y) X(window_half_x) X(window_half_y) X(window_light)
// clang-format on

typedef struct {
#define IVT_FIELD(name) float name;
  IVT_BODY_FIELDS(IVT_FIELD)
#undef IVT_FIELD
} ivt_body;

typedef struct {
  float centre; /* mm */
  float albedo; /* factor on the body's */
  float level;  /* mm above the common top */
} ivt_key;

/* A light so far away that its rays are parallel: towards it x grows by lean_x and y by lean_y per unit of z.
 */
typedef struct {
  float lean_x, lean_y, strength;
  float spread; /* half-width of the penumbra per unit of distance */
} ivt_light;

typedef struct {
  float ax, ay, az, bx, by, bz, radius, albedo;
} ivt_capsule;

/* What one column of the keyboard, IVT_COLUMN_MM wide, holds; 255 = none. */
#define IVT_COLUMN_MM 0.25f
#define IVT_MARGIN_MM 80.0f
typedef struct {
  uint8_t white, black;
  uint8_t moat; /* clearance cut into the white keys around a black one */
  int8_t bevel; /* -1, 1: on the sloping left or right side of a black key's top */
} ivt_column;

typedef struct {
  const ivt_body *body;
  const ivt_key *keys;
  const float *dip; /* (88,) mm at the key's front */
  const ivt_column *columns;
  int column_count;
  float white_lever, black_lever; /* 1 / distance from pivot to front */
} ivt_board;

typedef struct {
  int width, height, samples, lights, capsules;
  const float *projection; /* (3, 4) */
  const ivt_body *body;
  const ivt_key *keys;      /* (88,) */
  const float *dips;        /* (samples, 88) */
  const ivt_capsule *hands; /* (samples, capsules) */
  const ivt_light *light;   /* (lights,) */
  const uint8_t *mask;      /* (height, width) render where not 0 */
  float *radiance;          /* (height, width) linear light, written where mask is set */
  uint8_t *label;           /* (height, width) key 0..87, IVT_HAND or IVT_OTHER, likewise */
} ivt_picture;

/* Fill `columns`, which has room for ivt_column_count(body). */
int ivt_column_count(const ivt_body *body);
void ivt_build_columns(const ivt_body *body, const ivt_key *keys, ivt_column *columns);

/* Render one picture; returns 0, or -1 when memory runs out. */
int ivt_render(const ivt_picture *picture);

#endif
