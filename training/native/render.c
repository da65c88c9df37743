#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "hands.h"

static const float kLateralMm = 0.6f; /* how far a march may move sideways at once */
enum { TILE = 8 };

typedef struct {
  float direction[3]; /* unit, towards the light */
  const ivt_light *light;
  ivt_bins shadows; /* over z = 0: capsules that may shade the ray through that point */
} lamp;

typedef struct {
  const ivt_picture *picture;
  ivt_board board;
  const ivt_capsule *hands;
  const lamp *lamps;
  const ivt_bins *above; /* capsules near enough to darken the plane below */
  float top;             /* nothing of the keyboard but the fallboard is higher */
  float front_top;       /* and nothing in front of the black keys higher than this */
  float low;             /* tops of white keys at rest are higher than this */
} scene;

static float clamp01(float v) { return v < 0.0f ? 0.0f : (v > 1.0f ? 1.0f : v); }

static int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }

/* Light that comes from direction r: sky, a window and the lamps' mirror images. */
static float environment(const scene *s, const float r[3]) {
  const ivt_body *body = s->picture->body;
  float light = body->sky * (0.6f + 0.4f * r[1]);
  if (r[2] > 0.05f) {
    const float wx = fabsf(r[0] / r[2] - body->window_x) - body->window_half_x;
    const float wy = fabsf(r[1] / r[2] - body->window_y) - body->window_half_y;
    light += body->window_light * clamp01(0.5f - 8.0f * wx) * clamp01(0.5f - 8.0f * wy);
  }
  for (int l = 0; l < s->picture->lights; l++) {
    const float *d = s->lamps[l].direction;
    const float off = 1.0f - (r[0] * d[0] + r[1] * d[1] + r[2] * d[2]);
    const float lobe = 1.0f / (1.0f + 60.0f * off);
    light += 3.0f * s->lamps[l].light->strength * lobe * lobe;
  }
  return light;
}

/* Share of lamp `lamp` that reaches p past keys, fallboard and hands. */
static float lit(const scene *s, const lamp *lamp, const float p[3]) {
  const ivt_body *body = s->picture->body;
  const float lx = lamp->light->lean_x, ly = lamp->light->lean_y;
  const float lean = fabsf(lx) + fabsf(ly), softness = lamp->light->spread;
  float light = 1.0f;
  if (ly < 0.0f && p[1] >= 0.0f) {
    const float rise = -p[1] / ly;
    light = clamp01(0.5f + (p[2] + rise - body->fallboard_height) / (2.0f * softness * rise + 1.0f));
  }
  float climb = 0.5f;
  /* In front of the black keys, under light from the front, only a key that is down has neighbours above it.
   */
  if (ly >= 0.0f && p[1] > body->black_length && p[2] > s->low) climb = s->top + 100.0f;
  while (light > 0.0f && p[2] + climb < s->top) {
    const float z = p[2] + climb;
    const float clear = z - ivt_height(&s->board, p[0] + lx * climb, p[1] + ly * climb, NULL);
    const float seen = 0.5f + clear / (2.0f * softness * climb * (1.0f + lean) + 0.3f);
    if (seen < light) light = clamp01(seen);
    float step = kLateralMm / (lean + 0.05f);
    if (clear > 0.0f && 0.6f * clear > step) step = 0.6f * clear;
    climb += step < 6.0f ? step : 6.0f;
  }
  if (light <= 0.0f) return 0.0f;
  uint64_t bits = ivt_bins_at(&lamp->shadows, p[0] - lx * p[2], p[1] - ly * p[2]);
  for (; bits && light > 0.0f; bits &= bits - 1) {
    const float past = ivt_capsule_light(&s->hands[lowest_bit(bits)], p, lamp->direction, softness);
    if (past < light) light = past;
  }
  return light;
}

/* Ambient light left at p under hands. */
static float under_hands(const scene *s, const float p[3]) {
  float open = 1.0f;
  for (uint64_t bits = ivt_bins_at(s->above, p[0], p[1]); bits; bits &= bits - 1) {
    const ivt_capsule *c = &s->hands[lowest_bit(bits)];
    float n[3];
    ivt_capsule_nearest(c, p, n);
    const float dx = n[0] - p[0], dy = n[1] - p[1], dz = n[2] - p[2];
    const float dd = dx * dx + dy * dy + dz * dz + 1.0f;
    if (dz > 0.0f) {
      const float cover = 0.8f * c->radius * c->radius / dd * dz / sqrtf(dd);
      open *= 1.0f - (cover < 0.8f ? cover : 0.8f);
    }
  }
  return open;
}

static float shade(const scene *s, const float p[3], const float normal[3], const float ray[3], float albedo,
                   float gloss, float open) {
  float light = s->picture->body->ambient * open;
  for (int l = 0; l < s->picture->lights; l++) {
    const float *d = s->lamps[l].direction;
    const float facing = normal[0] * d[0] + normal[1] * d[1] + normal[2] * d[2];
    if (facing > 0.0f) light += s->lamps[l].light->strength * facing * lit(s, &s->lamps[l], p);
  }
  float out = albedo * light;
  if (gloss > 0.0f) {
    const float across = -(ray[0] * normal[0] + ray[1] * normal[1] + ray[2] * normal[2]);
    const float r[3] = {ray[0] + 2.0f * across * normal[0], ray[1] + 2.0f * across * normal[1],
                        ray[2] + 2.0f * across * normal[2]};
    const float graze = 1.0f - clamp01(across), graze2 = graze * graze;
    const float fresnel = gloss * (0.25f + 0.75f * graze2 * graze2 * graze);
    out += fresnel * environment(s, r) * (0.3f + 0.7f * open);
  }
  return out;
}

/* Share of the ambient light that the neighbouring keys leave at p. */
static float between_keys(const scene *s, const float p[3]) {
  static const float kTaps[4][3] = {{-2.5f, 0, 2.5f}, {2.5f, 0, 2.5f}, {-7, 0, 7}, {0, -6, 6}};
  float wall = 0.0f;
  for (int i = 0; i < 4; i++) {
    const float rise = ivt_height(&s->board, p[0] + kTaps[i][0], p[1] + kTaps[i][1], NULL) - p[2];
    if (rise > 0.0f) wall += rise < 3.0f * kTaps[i][2] ? rise / kTaps[i][2] : 3.0f;
  }
  return 1.0f / (1.0f + s->picture->body->occlusion * wall);
}

static float shade_board(const scene *s, const float p[3], const float ray[3], int side_x, int side_y,
                         int *label) {
  const ivt_body *body = s->picture->body;
  ivt_surface surface;
  ivt_height(&s->board, p[0], p[1], &surface);
  float normal[3] = {0.0f, 0.0f, 1.0f}, albedo = body->gap_albedo, gloss = 0.0f;
  *label = surface.key == IVT_NONE ? IVT_OTHER : surface.key;
  switch (surface.material) {
    case IVT_WHITE:
      albedo = body->white_albedo * s->board.keys[surface.key].albedo;
      gloss = body->white_gloss;
      normal[1] = s->board.dip[surface.key] * s->board.white_lever;
      break;
    case IVT_BLACK:
      albedo = body->black_albedo * s->board.keys[surface.key].albedo;
      gloss = body->black_gloss;
      normal[1] = s->board.dip[surface.key] * s->board.black_lever;
      if (p[1] > body->black_length - body->black_slope)
        normal[1] += 0.55f * body->black_height / body->black_slope;
      normal[0] = 0.8f * (float)surface.bevel;
      break;
    case IVT_FALLBOARD:
      albedo = body->fallboard_albedo;
      break;
    case IVT_FELT:
      albedo = body->felt_albedo;
      break;
    case IVT_SLIP:
      albedo = body->slip_albedo;
      break;
    case IVT_CHEEK:
      albedo = body->cheek_albedo;
      break;
    case IVT_GAP:
      break;
    case IVT_FLOOR: {
      const int odd = ((int)floorf(p[0] / 610.0f) + (int)floorf(p[1] / 610.0f)) & 1;
      return body->floor_albedo * (odd ? body->floor_contrast : 1.0f) * (body->ambient + 0.5f);
    }
  }
  if (side_x || side_y) {
    normal[0] = (float)side_x;
    normal[1] = (float)side_y;
    normal[2] = 0.0f;
    gloss = 0.0f;
    if (surface.material == IVT_WHITE) albedo = side_y ? body->front_albedo : body->side_albedo;
  } else {
    const float size = sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + 1.0f);
    for (int i = 0; i < 3; i++) normal[i] /= size;
  }
  float open = between_keys(s, p) * under_hands(s, p);
  if (p[1] >= 0.0f && body->fallboard_height > p[2])
    open *= 1.0f - 0.4f * (body->fallboard_height - p[2]) / (body->fallboard_height - p[2] + p[1] + 5.0f);
  return shade(s, p, normal, ray, albedo, gloss, open);
}

/* Radiance along one ray; `bits`: capsules that may stand in its way. */
static float trace(const scene *s, const float eye[3], const float ray[3], uint64_t bits, int *label) {
  const ivt_body *body = s->picture->body;
  float near = 1e30f;
  const ivt_capsule *hand = NULL;
  for (; bits; bits &= bits - 1) {
    const ivt_capsule *c = &s->hands[lowest_bit(bits)];
    const float t = ivt_capsule_hit(c, eye, ray);
    if (t > 0.0f && t < near) {
      near = t;
      hand = c;
    }
  }
  const float floor_z = hand ? eye[2] + near * ray[2] : -1e30f;
  if (ray[2] > -0.02f) {
    *label = IVT_OTHER;
    return body->floor_albedo * body->ambient;
  }
  const float slope_x = ray[0] / ray[2], slope_y = ray[1] / ray[2];
  const float slope = fabsf(slope_x) + fabsf(slope_y);
  float p[3];
  int side_x = 0, side_y = 0, hit = 0;
  float z = s->top;
  const float board_top = body->fallboard_height;
  if (board_top > z) { /* the fallboard rises above everything else: meet its top or its face first */
    const float y_top = eye[1] + (board_top - eye[2]) * slope_y;
    const float x_top = eye[0] + (board_top - eye[2]) * slope_x;
    const float y_low = eye[1] + (z - eye[2]) * slope_y;
    const float ends = IVT_WHITES * body->white_width + 1.0f, edge = -body->felt_depth;
    if (y_top < edge && y_top > body->body_back && x_top > -1.0f && x_top < ends) {
      z = board_top - 0.01f;
      hit = 1;
    } else if (y_top >= edge && y_low < edge) {
      const float face = eye[2] + (edge - 0.01f - eye[1]) / slope_y;
      const float x_face = eye[0] + (face - eye[2]) * slope_x;
      if (x_face > -1.0f && x_face < ends) {
        z = face;
        hit = 1;
        side_y = 1;
      }
    }
  }
  if (!hit && eye[1] + (z - eye[2]) * slope_y > body->black_length &&
      eye[1] + (s->front_top - eye[2]) * slope_y > body->black_length)
    z = s->front_top;
  float before = 1e30f;
  while (!hit && z > floor_z) {
    const float x = eye[0] + (z - eye[2]) * slope_x, y = eye[1] + (z - eye[2]) * slope_y;
    const float h = ivt_height(&s->board, x, y, NULL), clear = z - h;
    if (clear <= 0.0f) {
      hit = 1;
      if (h - before > 1.0f && clear < -0.25f) { /* went into a wall: which side of the cell? */
        const float back = kLateralMm / (slope + 0.05f) * 1.5f;
        const float y0 = y + back * slope_y;
        if (ivt_height(&s->board, x, y0, NULL) < z)
          side_y = slope_y > 0.0f ? 1 : -1;
        else
          side_x = slope_x > 0.0f ? 1 : -1;
      }
      break;
    }
    before = h;
    const float fine = kLateralMm / (slope + 0.01f);
    float step = 0.6f * clear > fine ? 0.6f * clear : fine;
    if (step > clear) step = clear;
    z -= step + 1e-3f;
  }
  if (hand && !hit) {
    for (int i = 0; i < 3; i++) p[i] = eye[i] + near * ray[i];
    float n[3];
    ivt_capsule_nearest(hand, p, n);
    for (int i = 0; i < 3; i++) {
      n[i] = (p[i] - n[i]) / hand->radius;
      p[i] += 0.3f * n[i];
    }
    *label = IVT_HAND;
    return shade(s, p, n, ray, hand->albedo, 0.0f, 0.55f + 0.45f * n[2]);
  }
  p[0] = eye[0] + (z - eye[2]) * slope_x;
  p[1] = eye[1] + (z - eye[2]) * slope_y;
  p[2] = z;
  return shade_board(s, p, ray, side_x, side_y, label);
}

/* Inverse of the left 3x3 part of the projection, and the camera's place. */
static void invert(const float *projection, float inverse[9], float eye[3]) {
  double m[9], c[9];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) m[i * 3 + j] = projection[i * 4 + j];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) {
      const int a = (j + 1) % 3, b = (j + 2) % 3, d = (i + 1) % 3, e = (i + 2) % 3;
      c[i * 3 + j] = m[a * 3 + d] * m[b * 3 + e] - m[a * 3 + e] * m[b * 3 + d];
    }
  const double det = m[0] * c[0] + m[1] * c[3] + m[2] * c[6];
  for (int i = 0; i < 9; i++) inverse[i] = (float)(c[i] / det);
  for (int i = 0; i < 3; i++)
    eye[i] =
        (float)(-(c[i * 3] * projection[3] + c[i * 3 + 1] * projection[7] + c[i * 3 + 2] * projection[11]) /
                det);
}

static void enclose(const float *p, const float at[3], float radius, float box[4]) {
  const float w = p[8] * at[0] + p[9] * at[1] + p[10] * at[2] + p[11];
  if (w < 1.0f) { /* at or behind the camera: may be anywhere */
    box[0] = box[1] = -1e9f;
    box[2] = box[3] = 1e9f;
    return;
  }
  const float u = (p[0] * at[0] + p[1] * at[1] + p[2] * at[2] + p[3]) / w;
  const float v = (p[4] * at[0] + p[5] * at[1] + p[6] * at[2] + p[7]) / w;
  const float focal =
      sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) / sqrtf(p[8] * p[8] + p[9] * p[9] + p[10] * p[10]);
  const float reach = 1.15f * radius * focal / (w > 1.5f * radius ? w - radius : 0.5f * radius) + 1.5f;
  if (u - reach < box[0]) box[0] = u - reach;
  if (v - reach < box[1]) box[1] = v - reach;
  if (u + reach > box[2]) box[2] = u + reach;
  if (v + reach > box[3]) box[3] = v + reach;
}

static void cast(ivt_bins *bins, const ivt_capsule *c, float lean_x, float lean_y, float spread, int index) {
  const float size = sqrtf(1.0f + lean_x * lean_x + lean_y * lean_y);
  const float high = (c->az > c->bz ? c->az : c->bz) + c->radius + 15.0f;
  const float grow = size * (c->radius + spread * high * size) + 4.0f;
  const float xa = c->ax - lean_x * c->az, xb = c->bx - lean_x * c->bz;
  const float ya = c->ay - lean_y * c->az, yb = c->by - lean_y * c->bz;
  ivt_bins_add(bins, fminf(xa, xb) - grow, fminf(ya, yb) - grow, fmaxf(xa, xb) + grow, fmaxf(ya, yb) + grow,
               index);
}

static void trace_all(const ivt_picture *picture, scene *scenes, const ivt_bins *tiles) {
  static const float kPlaces[4][4][2] = {{{0.5f, 0.5f}},
                                         {{0.25f, 0.3f}, {0.75f, 0.7f}},
                                         {{0.2f, 0.2f}, {0.8f, 0.45f}, {0.4f, 0.8f}},
                                         {{0.38f, 0.12f}, {0.88f, 0.38f}, {0.12f, 0.62f}, {0.62f, 0.88f}}};
  float inverse[9], eye[3];
  invert(picture->projection, inverse, eye);
  const int samples = picture->samples;
  for (int v = 0; v < picture->height; v++)
    for (int u = 0; u < picture->width; u++) {
      const size_t at = (size_t)v * (size_t)picture->width + (size_t)u;
      if (!picture->mask[at]) continue;
      const uint64_t bits = ivt_bins_at(tiles, (float)u, (float)v);
      float sum = 0.0f;
      int label = IVT_OTHER;
      for (int i = 0; i < samples; i++) {
        const float x = (float)u + kPlaces[samples - 1][i][0] - 0.5f,
                    y = (float)v + kPlaces[samples - 1][i][1] - 0.5f;
        float ray[3];
        for (int j = 0; j < 3; j++) ray[j] = inverse[j * 3] * x + inverse[j * 3 + 1] * y + inverse[j * 3 + 2];
        const float size = sqrtf(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]);
        for (int j = 0; j < 3; j++) ray[j] /= size;
        sum += trace(&scenes[i], eye, ray, bits, &label);
      }
      picture->radiance[at] = sum / (float)samples;
      picture->label[at] = (uint8_t)label;
    }
}

int ivt_render(const ivt_picture *picture) {
  const ivt_body *body = picture->body;
  const float right = IVT_WHITES * body->white_width;
  lamp lamps[IVT_MAX_LIGHTS];
  memset(lamps, 0, sizeof lamps);
  ivt_bins tiles = {0}, above = {0};
  const int count = ivt_column_count(body);
  ivt_column *columns = malloc((size_t)count * sizeof *columns);
  int failed = !columns ||
               ivt_bins_open(&tiles, 0, 0, (float)picture->width, (float)picture->height, TILE) < 0 ||
               ivt_bins_open(&above, -100.0f, -100.0f, right + 100.0f, 300.0f, 8.0f) < 0;
  for (int l = 0; l < picture->lights && !failed; l++) {
    const ivt_light *light = &picture->light[l];
    const float size = sqrtf(1.0f + light->lean_x * light->lean_x + light->lean_y * light->lean_y);
    lamps[l].light = light;
    lamps[l].direction[0] = light->lean_x / size;
    lamps[l].direction[1] = light->lean_y / size;
    lamps[l].direction[2] = 1.0f / size;
    failed = ivt_bins_open(&lamps[l].shadows, -300.0f, -300.0f, right + 300.0f, 500.0f, 8.0f) < 0;
  }
  if (!failed) {
    ivt_build_columns(body, picture->keys, columns);
    for (int c = 0; c < picture->capsules; c++) {
      float box[4] = {1e9f, 1e9f, -1e9f, -1e9f};
      for (int i = 0; i < picture->samples; i++) {
        const ivt_capsule *capsule = &picture->hands[i * picture->capsules + c];
        const float a[3] = {capsule->ax, capsule->ay, capsule->az},
                    b[3] = {capsule->bx, capsule->by, capsule->bz};
        enclose(picture->projection, a, capsule->radius, box);
        enclose(picture->projection, b, capsule->radius, box);
        cast(&above, capsule, 0.0f, 0.0f, 0.2f, c);
        for (int l = 0; l < picture->lights; l++) {
          const ivt_light *light = lamps[l].light;
          cast(&lamps[l].shadows, capsule, light->lean_x, light->lean_y, light->spread, c);
        }
      }
      ivt_bins_add(&tiles, box[0], box[1], box[2], box[3], c);
    }
    scene scenes[IVT_MAX_SAMPLES];
    for (int i = 0; i < picture->samples; i++) {
      const ivt_board board = {body,
                               picture->keys,
                               picture->dips + i * IVT_KEYS,
                               columns,
                               count,
                               1.0f / (body->white_length - body->white_pivot),
                               1.0f / (body->black_length - body->black_pivot)};
      const float top = fmaxf(body->black_height, fmaxf(body->cheek_height, body->slip_height)) + 1.0f;
      float front_top = fmaxf(body->cheek_height, body->slip_height), low = 0.0f;
      for (int k = 0; k < IVT_KEYS; k++) {
        front_top = fmaxf(front_top, picture->keys[k].level);
        low = fminf(low, picture->keys[k].level);
      }
      scenes[i] = (scene){.picture = picture,
                          .board = board,
                          .hands = picture->hands + i * picture->capsules,
                          .lamps = lamps,
                          .above = &above,
                          .top = top,
                          .front_top = front_top + 0.2f,
                          .low = low - 0.3f};
    }
    trace_all(picture, scenes, &tiles);
  }
  for (int l = 0; l < picture->lights; l++) ivt_bins_close(&lamps[l].shadows);
  ivt_bins_close(&tiles);
  ivt_bins_close(&above);
  free(columns);
  return failed ? -1 : 0;
}
