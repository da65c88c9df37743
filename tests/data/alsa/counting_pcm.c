/* An ALSA capture device without hardware, for tests: every sample's value is the time it was captured.
 *
 * The value of a sample is its CLOCK_MONOTONIC time in samples, modulo 2^23, in the upper bits of S32_LE. So
 * a reader can check its time stamps and its count of lost samples against the sound itself. A file named in
 * the configuration makes trouble while it exists: "gone" removes the device, "mute" lets it stand still.
 *
 * pcm.NAME { type counting control "/path/of/the/control/file" }
 */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  snd_pcm_ioplug_t io;
  char control[PATH_MAX];
  int timer;
  uint64_t started;  // time of the first sample, in samples
} counting_t;

typedef enum { FINE, GONE, MUTE } trouble_t;

static trouble_t trouble(const counting_t *pcm) {
  char word[8] = {0};
  int file = open(pcm->control, O_RDONLY | O_CLOEXEC);
  if (file < 0) return FINE;
  ssize_t length = read(file, word, sizeof word - 1);
  close(file);
  if (length >= 4 && memcmp(word, "gone", 4) == 0) return GONE;
  return length >= 4 && memcmp(word, "mute", 4) == 0 ? MUTE : FINE;
}

static uint64_t now_in_samples(unsigned rate) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * rate + (uint64_t)now.tv_nsec * rate / 1000000000u;
}

static int counting_start(snd_pcm_ioplug_t *io) {
  counting_t *pcm = io->private_data;
  pcm->started = now_in_samples(io->rate);
  long period_ns = (long)(1000000000ull * io->period_size / io->rate);
  struct itimerspec beat = {{0, period_ns}, {0, period_ns}};
  return timerfd_settime(pcm->timer, 0, &beat, NULL) < 0 ? -errno : 0;
}

static int counting_stop(snd_pcm_ioplug_t *io) {
  counting_t *pcm = io->private_data;
  struct itimerspec never = {{0, 0}, {0, 0}};
  return timerfd_settime(pcm->timer, 0, &never, NULL) < 0 ? -errno : 0;
}

static snd_pcm_sframes_t counting_pointer(snd_pcm_ioplug_t *io) {
  counting_t *pcm = io->private_data;
  trouble_t now = trouble(pcm);
  if (now == GONE) return -ENODEV;
  if (now == MUTE) return (snd_pcm_sframes_t)(io->appl_ptr % io->buffer_size);
  uint64_t captured = now_in_samples(io->rate) - pcm->started;
  if (captured - io->appl_ptr >= io->buffer_size) return -EPIPE;
  return (snd_pcm_sframes_t)(captured % io->buffer_size);
}

static snd_pcm_sframes_t counting_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
                                           snd_pcm_uframes_t offset, snd_pcm_uframes_t size) {
  counting_t *pcm = io->private_data;
  for (snd_pcm_uframes_t frame = 0; frame < size; ++frame) {
    uint32_t value = (uint32_t)((pcm->started + io->appl_ptr + frame) & 0x7fffff) << 8;
    for (unsigned channel = 0; channel < io->channels; ++channel) {
      const snd_pcm_channel_area_t *area = &areas[channel];
      memcpy((char *)area->addr + (area->first + area->step * (offset + frame)) / 8, &value, sizeof value);
    }
  }
  return (snd_pcm_sframes_t)size;
}

static int counting_revents(snd_pcm_ioplug_t *io, struct pollfd *fds, unsigned count,
                            unsigned short *revents) {
  counting_t *pcm = io->private_data;
  uint64_t beats;
  *revents = count ? (unsigned short)fds[0].revents : 0;
  if ((*revents & POLLIN) && read(pcm->timer, &beats, sizeof beats) < 0) *revents = 0;
  if (trouble(pcm) == MUTE) *revents = 0;
  return 0;
}

static int counting_close(snd_pcm_ioplug_t *io) {
  counting_t *pcm = io->private_data;
  close(pcm->timer);
  free(pcm);
  return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
    .start = counting_start,
    .stop = counting_stop,
    .pointer = counting_pointer,
    .transfer = counting_transfer,
    .poll_revents = counting_revents,
    .close = counting_close,
};

static int constrain(snd_pcm_ioplug_t *io) {
  const unsigned access[] = {SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED};
  const unsigned format[] = {SND_PCM_FORMAT_S32_LE};
  int error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 2, access);
  if (!error) error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, format);
  if (!error) error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, 1, 2);
  if (!error) error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_RATE, 8000, 48000);
  if (!error) error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 64, 1 << 16);
  if (!error) error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIODS, 2, 256);
  return error;
}

SND_PCM_PLUGIN_DEFINE_FUNC(counting) {
  const char *control = "";
  snd_config_iterator_t entry, next;
  (void)root;
  snd_config_for_each(entry, next, conf) {
    snd_config_t *node = snd_config_iterator_entry(entry);
    const char *id;
    if (snd_config_get_id(node, &id) == 0 && strcmp(id, "control") == 0)
      snd_config_get_string(node, &control);
  }
  counting_t *pcm = calloc(1, sizeof *pcm);
  if (!pcm) return -ENOMEM;
  snprintf(pcm->control, sizeof pcm->control, "%s", control);
  int error = trouble(pcm) == GONE ? -ENODEV : 0;
  pcm->timer = error ? -1 : timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (!error && pcm->timer < 0) error = -errno;
  if (!error) {
    pcm->io.version = SND_PCM_IOPLUG_VERSION;
    pcm->io.name = "A device that counts";
    pcm->io.callback = &callbacks;
    pcm->io.private_data = pcm;
    pcm->io.poll_fd = pcm->timer;
    pcm->io.poll_events = POLLIN;
    error = snd_pcm_ioplug_create(&pcm->io, name, stream, mode);
  }
  if (error) {
    if (pcm->timer >= 0) close(pcm->timer);
    free(pcm);
    return error;
  }
  error = constrain(&pcm->io);
  if (error) {
    snd_pcm_ioplug_delete(&pcm->io);
    return error;
  }
  *pcmp = pcm->io.pcm;
  return 0;
}

SND_PCM_PLUGIN_SYMBOL(counting);
