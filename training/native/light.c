#include "light.h"

#include <math.h>

static float clamp01(float v) { return v < 0.0f ? 0.0f : (v > 1.0f ? 1.0f : v); }

/* Light that comes from direction r: sky, a window and the lamps' mirror images. */
static float environment(const ivt_scene *s, const float r[3]) {
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
static float lit(const ivt_scene *s, const ivt_lamp *lamp, const float p[3]) {
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
    float step = IVT_LATERAL_MM / (lean + 0.05f);
    if (clear > 0.0f && 0.6f * clear > step) step = 0.6f * clear;
    climb += step < 6.0f ? step : 6.0f;
  }
  if (light <= 0.0f) return 0.0f;
  uint64_t bits = ivt_bins_at(&lamp->shadows, p[0] - lx * p[2], p[1] - ly * p[2]);
  for (; bits && light > 0.0f; bits &= bits - 1) {
    const float past = ivt_capsule_light(&s->hands[ivt_lowest_bit(bits)], p, lamp->direction, softness);
    if (past < light) light = past;
  }
  return light;
}

/* Ambient light left at p under hands. */
static float under_hands(const ivt_scene *s, const float p[3]) {
  float open = 1.0f;
  for (uint64_t bits = ivt_bins_at(s->above, p[0], p[1]); bits; bits &= bits - 1) {
    const ivt_capsule *c = &s->hands[ivt_lowest_bit(bits)];
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

float ivt_shade(const ivt_scene *s, const float p[3], const float normal[3], const float ray[3], float albedo,
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
static float between_keys(const ivt_scene *s, const float p[3]) {
  static const float kTaps[4][3] = {{-2.5f, 0, 2.5f}, {2.5f, 0, 2.5f}, {-7, 0, 7}, {0, -6, 6}};
  float wall = 0.0f;
  for (int i = 0; i < 4; i++) {
    const float rise = ivt_height(&s->board, p[0] + kTaps[i][0], p[1] + kTaps[i][1], NULL) - p[2];
    if (rise > 0.0f) wall += rise < 3.0f * kTaps[i][2] ? rise / kTaps[i][2] : 3.0f;
  }
  return 1.0f / (1.0f + s->picture->body->occlusion * wall);
}

float ivt_shade_board(const ivt_scene *s, const float p[3], const float ray[3], int side_x, int side_y,
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
  return ivt_shade(s, p, normal, ray, albedo, gloss, open);
}
