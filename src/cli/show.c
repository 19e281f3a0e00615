/* show.c - see show.h. */
#include "cli/show.h"

#include <chafa.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "format/image_file.h"

static ChafaCanvasMode best_mode(ChafaTermInfo *term)
{
    if (chafa_term_info_have_seq(term, CHAFA_TERM_SEQ_SET_COLOR_FGBG_DIRECT))
        return CHAFA_CANVAS_MODE_TRUECOLOR;
    if (chafa_term_info_have_seq(term, CHAFA_TERM_SEQ_SET_COLOR_FGBG_256))
        return CHAFA_CANVAS_MODE_INDEXED_240;
    if (chafa_term_info_have_seq(term, CHAFA_TERM_SEQ_SET_COLOR_FGBG_16)) return CHAFA_CANVAS_MODE_INDEXED_16;
    return CHAFA_CANVAS_MODE_FGBG;
}

bool show_picture(FILE *out, const void *file, size_t n, int max_rows, int *rows, struct err *e)
{
    struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    struct image_pixels px;
    struct winsize window = { 0 };
    if (!image_file_decode(file, n, 3, &limits, &px, e)) return false;
    if (ioctl(fileno(out), TIOCGWINSZ, &window) != 0 || !window.ws_col || window.ws_row < 4)
        window = (struct winsize){ .ws_col = 80, .ws_row = 24 };
    int width = window.ws_col, height = window.ws_row - 2 < max_rows ? window.ws_row - 2 : max_rows;
    chafa_calc_canvas_geometry(px.width, px.height, &width, &height, 0.5F, TRUE, FALSE);

    char **environment = g_get_environ();
    ChafaTermInfo *term = chafa_term_db_detect(chafa_term_db_get_default(), environment);
    ChafaCanvasConfig *config = chafa_canvas_config_new();
    ChafaSymbolMap *symbols = chafa_symbol_map_new();
    chafa_symbol_map_add_by_tags(symbols, CHAFA_SYMBOL_TAG_BLOCK | CHAFA_SYMBOL_TAG_SPACE);
    chafa_canvas_config_set_symbol_map(config, symbols);
    chafa_canvas_config_set_canvas_mode(config, best_mode(term));
    chafa_canvas_config_set_geometry(config, width, height);
    ChafaCanvas *canvas = chafa_canvas_new(config);
    chafa_canvas_draw_all_pixels(canvas, CHAFA_PIXEL_RGB8, px.data, px.width, px.height, px.width * 3);
    GString *text = chafa_canvas_print(canvas, term);
    if (*rows > 0) fprintf(out, "\033[%dA", *rows);
    fprintf(out, "%s\n", text->str);
    fflush(out);
    *rows = height;

    g_string_free(text, TRUE);
    chafa_canvas_unref(canvas);
    chafa_symbol_map_unref(symbols);
    chafa_canvas_config_unref(config);
    chafa_term_info_unref(term);
    g_strfreev(environment);
    free(px.data);
    return true;
}
