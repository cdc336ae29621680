/* As much of the Arduino core as the self-test sketch uses, over semihosting: Midge checks the sketch with it. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stdint.h>

unsigned long millis();
unsigned long micros();

struct SemihostingSerial {
  void begin(unsigned long baud);
  void print(const char *text);
  void print(unsigned long number);
  void println(const char *text);
  explicit operator bool() const;
};

extern SemihostingSerial Serial;

void setup();
void loop();

#endif
