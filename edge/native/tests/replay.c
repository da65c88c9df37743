/* replay WHAT JOB > RESULT; `replay simd` prints the instruction set of this build. */
#include "replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio_frontend.h"

/* A front end that wants to be replayed adds its line here and its file replay_NAME.c. */
static const struct {
  const char *name;
  void (*run)(void);
} replays[] = {
    {"fft", replay_fft}, {"audio", replay_audio}, {"resample", replay_resample}, {"strip", replay_strip}};

static FILE *job;
static void *held[4096];
static size_t holding;

void fail(const char *sentence) {
  fprintf(stderr, "replay: %s\n", sentence);
  exit(1);
}

void *room(size_t bytes) {
  if (holding == sizeof held / sizeof *held) fail("too many arrays");
  void *memory = malloc(bytes > 0 ? bytes : 1);
  if (memory == NULL) fail("out of memory");
  return held[holding++] = memory;
}

static void take(void *to, size_t bytes) {
  if (fread(to, 1, bytes, job) != bytes) fail("the job ends too early");
}

int32_t job_int(void) {
  int32_t value;
  take(&value, sizeof value);
  return value;
}

int64_t job_long(void) {
  int64_t value;
  take(&value, sizeof value);
  return value;
}

float job_float(void) {
  float value;
  take(&value, sizeof value);
  return value;
}

void *job_array(size_t count, size_t size) {
  void *memory = room(count * size);
  take(memory, count * size);
  return memory;
}

void result(const void *bytes, size_t count) {
  if (fwrite(bytes, 1, count, stdout) != count) fail("the result cannot be written");
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "simd") == 0) return puts(audio_frontend_simd()) < 0;
  if (argc != 3) fail("usage: replay WHAT JOB > RESULT, or replay simd");
  job = fopen(argv[2], "rb");
  if (job == NULL) fail("the job cannot be opened");
  for (size_t i = 0; i < sizeof replays / sizeof *replays; ++i) {
    if (strcmp(argv[1], replays[i].name) != 0) continue;
    replays[i].run();
    for (size_t j = 0; j < holding; ++j) free(held[j]);
    fclose(job);
    return 0;
  }
  fail("no such replay");
}
