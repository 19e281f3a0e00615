/* catalog_data.h - catalog/models.yaml as it was when the binary was built. */
#ifndef HEARTH_SERVICE_MODELS_CATALOG_DATA_H
#define HEARTH_SERVICE_MODELS_CATALOG_DATA_H

extern const char catalog_builtin[], catalog_builtin_end[];

#endif
