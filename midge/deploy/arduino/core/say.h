/* Text output of the start-up code. */
#ifndef SAY_H
#define SAY_H

#ifdef __cplusplus
extern "C" {
#endif

void say(const char *text);

#ifdef __cplusplus
}
#endif

#endif
