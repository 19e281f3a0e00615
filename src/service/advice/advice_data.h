/* advice_data.h - catalog/advice.yaml and catalog/styles.yaml, as they stand in the binary. */
#ifndef HEARTH_SERVICE_ADVICE_ADVICE_DATA_H
#define HEARTH_SERVICE_ADVICE_ADVICE_DATA_H

extern const char advice_rules[], advice_rules_end[];
extern const char advice_styles[], advice_styles_end[];

#endif
