/* A Video4Linux camera without hardware or kernel module, for tests: preload it into the process that looks.
 *
 * Opening the file that IVORIES_TEST_CAMERA names opens the camera; all other files are left alone. It offers
 * YUYV at 30 frames per second, and JPEG (one picture, the file that IVORIES_TEST_JPEG names) at 60. The luma
 * of a YUYV frame is its sequence number modulo 200. Frames are stamped with CLOCK_MONOTONIC; without a free
 * buffer they are lost. The first word in the camera's file makes trouble while it stands there: "gone" ends
 * the device, "mute" lets it stand still.
 *
 * IVORIES_TEST_EXPOSURE names its exposure controls: "manual" as most USB cameras have them, "bias" for a
 * menu of -2 to 2 stops, or none. What is set is written to the file IVORIES_TEST_CONTROLS, a line
 * "control value" each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 160, HEIGHT = 120, FRAME_BYTES = 1 << 16, MAX_BUFFERS = 32 };

static struct {
  int fd;
  bool jpeg, streaming, queued[MAX_BUFFERS];
  unsigned buffers, oldest;
  uint64_t started_ns, given;  // frames given out or lost since the start
  int controls;                // another handle, opened while the camera streams
  int automatic, time, bias;
} camera = {.fd = -1, .controls = -1, .automatic = V4L2_EXPOSURE_APERTURE_PRIORITY, .time = 156, .bias = 4};

static const char *camera_path(void) { return getenv("IVORIES_TEST_CAMERA"); }

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int real_open(const char *path, int flags, mode_t mode) {
  int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  return next(path, flags, mode);
}

static bool trouble(const char *word) {
  char content[16] = {0};
  int file = real_open(camera_path(), O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return false;
  ssize_t length = read(file, content, sizeof content - 1);
  close(file);
  return length > 0 && strncmp(content, word, strlen(word)) == 0;
}

static unsigned rate(void) { return camera.jpeg ? 60 : 30; }

static size_t picture(unsigned char *to, uint64_t sequence) {
  if (camera.jpeg) {
    int file = real_open(getenv("IVORIES_TEST_JPEG"), O_RDONLY | O_CLOEXEC, 0);
    ssize_t length = read(file, to, FRAME_BYTES);
    close(file);
    return length > 0 ? (size_t)length : 0;
  }
  for (int at = 0; at < 2 * WIDTH * HEIGHT; at += 2) {
    to[at] = (unsigned char)(sequence % 200);
    to[at + 1] = 128;
  }
  return 2 * WIDTH * HEIGHT;
}

static int dequeue(struct v4l2_buffer *buffer) {
  if (trouble("gone")) return ENODEV;
  if (!camera.streaming) return EINVAL;
  uint64_t period_ns = 1000000000u / rate();
  uint64_t taken = (now_ns() - camera.started_ns) / period_ns;
  if (trouble("mute")) camera.given = taken;
  if (taken <= camera.given) return EAGAIN;
  unsigned index = camera.oldest;
  if (!camera.queued[index]) return EAGAIN;
  // Frames beyond the buffers that were waiting had nowhere to go.
  if (taken - camera.given > camera.buffers) camera.given = taken - camera.buffers;
  uint64_t stamp_ns = camera.started_ns + (camera.given + 1) * period_ns;
  camera.queued[index] = false;
  camera.oldest = (index + 1) % camera.buffers;
  unsigned char *memory =
      mmap(NULL, FRAME_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, camera.fd, (off_t)index * FRAME_BYTES);
  if (memory == MAP_FAILED) return EIO;
  memset(buffer, 0, sizeof *buffer);
  buffer->type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer->memory = V4L2_MEMORY_MMAP;
  buffer->index = index;
  buffer->sequence = (uint32_t)camera.given;
  buffer->bytesused = (uint32_t)picture(memory, camera.given);
  buffer->length = FRAME_BYTES;
  buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  buffer->timestamp.tv_sec = (time_t)(stamp_ns / 1000000000u);
  buffer->timestamp.tv_usec = (suseconds_t)(stamp_ns % 1000000000u / 1000);
  munmap(memory, FRAME_BYTES);
  camera.given++;
  return 0;
}

static void describe(struct v4l2_pix_format *format) {
  camera.jpeg = format->pixelformat == V4L2_PIX_FMT_MJPEG;
  format->pixelformat = camera.jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
  format->width = WIDTH;
  format->height = HEIGHT;
  format->field = V4L2_FIELD_NONE;
  format->bytesperline = camera.jpeg ? 0 : 2 * WIDTH;
  format->sizeimage = camera.jpeg ? FRAME_BYTES : 2 * WIDTH * HEIGHT;
}

static int *control(uint32_t id) {
  const char *kind = getenv("IVORIES_TEST_EXPOSURE");
  if (!kind) return NULL;
  if (strcmp(kind, "bias") == 0) return id == V4L2_CID_AUTO_EXPOSURE_BIAS ? &camera.bias : NULL;
  if (id == V4L2_CID_EXPOSURE_AUTO) return &camera.automatic;
  return id == V4L2_CID_EXPOSURE_ABSOLUTE ? &camera.time : NULL;
}

static int set_control(const struct v4l2_control *wanted) {
  int *value = control(wanted->id);
  if (!value) return EINVAL;
  // As the kernel's driver has it: the time cannot be set while the camera chooses it.
  if (value == &camera.time && camera.automatic != V4L2_EXPOSURE_MANUAL) return EACCES;
  *value = wanted->value;
  char line[32];
  int length = snprintf(line, sizeof line, "%08x %d\n", wanted->id, wanted->value);
  int file = real_open(getenv("IVORIES_TEST_CONTROLS"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || write(file, line, (size_t)length) != length) return EIO;
  close(file);
  return 0;
}

static int answer(unsigned long request, void *argument) {
  switch (request) {
    case VIDIOC_QUERYCTRL: {
      struct v4l2_queryctrl *query = argument;
      if (!control(query->id)) return EINVAL;
      bool menu = query->id == V4L2_CID_AUTO_EXPOSURE_BIAS;
      query->type = menu ? V4L2_CTRL_TYPE_INTEGER_MENU : V4L2_CTRL_TYPE_INTEGER;
      query->minimum = menu ? 0 : query->id == V4L2_CID_EXPOSURE_AUTO ? 0 : 3;
      query->maximum = menu ? 8 : query->id == V4L2_CID_EXPOSURE_AUTO ? 3 : 2047;
      query->flags = 0;
      return 0;
    }
    case VIDIOC_QUERYMENU: {
      struct v4l2_querymenu *item = argument;
      if (!control(item->id) || item->index > 8) return EINVAL;
      item->value = ((int64_t)item->index - 4) * 500;
      return 0;
    }
    case VIDIOC_G_CTRL: {
      struct v4l2_control *wanted = argument;
      int *value = control(wanted->id);
      if (value) wanted->value = *value;
      return value ? 0 : EINVAL;
    }
    case VIDIOC_S_CTRL:
      return set_control(argument);
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability *capability = argument;
      memset(capability, 0, sizeof *capability);
      strcpy((char *)capability->driver, "counting");
      strcpy((char *)capability->card, "A camera that counts");
      capability->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_DEVICE_CAPS;
      capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    }
    case VIDIOC_ENUMINPUT: {
      struct v4l2_input *input = argument;
      return input->index ? EINVAL : 0;
    }
    case VIDIOC_G_INPUT:
      *(int *)argument = 0;
      return 0;
    case VIDIOC_S_INPUT:
      return 0;
    case VIDIOC_ENUM_FMT: {
      struct v4l2_fmtdesc *format = argument;
      if (format->index > 1) return EINVAL;
      format->pixelformat = format->index ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
      format->flags = format->index ? V4L2_FMT_FLAG_COMPRESSED : 0;
      return 0;
    }
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
    case VIDIOC_TRY_FMT:
      describe(&((struct v4l2_format *)argument)->fmt.pix);
      return 0;
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
      struct v4l2_captureparm *capture = &((struct v4l2_streamparm *)argument)->parm.capture;
      capture->capability = V4L2_CAP_TIMEPERFRAME;
      capture->timeperframe.numerator = 1;
      capture->timeperframe.denominator = rate();
      return 0;
    }
    case VIDIOC_REQBUFS: {
      struct v4l2_requestbuffers *wanted = argument;
      if (wanted->count > MAX_BUFFERS) wanted->count = MAX_BUFFERS;
      camera.buffers = wanted->count;
      camera.oldest = 0;
      memset(camera.queued, 0, sizeof camera.queued);
      return ftruncate(camera.fd, (off_t)camera.buffers * FRAME_BYTES) < 0 ? errno : 0;
    }
    case VIDIOC_QUERYBUF: {
      struct v4l2_buffer *buffer = argument;
      buffer->length = FRAME_BYTES;
      buffer->m.offset = buffer->index * FRAME_BYTES;
      return 0;
    }
    case VIDIOC_QBUF:
      camera.queued[((struct v4l2_buffer *)argument)->index] = true;
      return 0;
    case VIDIOC_DQBUF:
      return dequeue(argument);
    case VIDIOC_STREAMON:
      camera.streaming = true;
      camera.started_ns = now_ns();
      camera.given = 0;
      return 0;
    case VIDIOC_STREAMOFF:
      camera.streaming = false;
      return 0;
    default:
      return ENOTTY;
  }
}

static int open_camera(const char *path, int flags, mode_t mode) {
  const char *wanted = camera_path();
  if (!wanted || strcmp(path, wanted) != 0 || (flags & O_ACCMODE) != O_RDWR)
    return real_open(path, flags, mode);
  if (access(path, F_OK) < 0 || trouble("gone")) {
    errno = ENODEV;
    return -1;
  }
  if (camera.streaming) return camera.controls = memfd_create("controls", MFD_CLOEXEC);
  camera.fd = memfd_create("camera", MFD_CLOEXEC);
  camera.jpeg = camera.streaming = false;
  return camera.fd;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open_camera(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open_camera(path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void *argument = va_arg(more, void *);
  va_end(more);
  if (fd < 0 || (fd != camera.fd && fd != camera.controls)) {
    int (*next)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
  }
  int error = answer(request & 0xffffffffu, argument);
  if (!error) return 0;
  errno = error;
  return -1;
}
