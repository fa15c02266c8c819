/*
 * Intrusive doubly linked lists. A node lives inside the thing it links, so linking allocates
 * nothing; a node that is on no list points at itself, so unlinking twice is harmless.
 */
#ifndef LINKS_BASE_LIST_H
#define LINKS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct list {
    struct list *next, *prev;
} list;

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Makes `l` an empty list head, or a node that is on no list. */
static inline void list_init(list *l) { l->next = l->prev = l; }

/* For a head: nothing is on it. For a node: it is on no list. */
static inline bool list_empty(const list *l) { return l->next == l; }

static inline void list_push_back(list *head, list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_push_front(list *head, list *node) { list_push_back(head->next, node); }

/* Takes `node` off its list, if it is on one. */
static inline void list_remove(list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first node, taken off; NULL from an empty list. */
static inline list *list_pop_front(list *head)
{
    list *node = head->next;
    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}

/* Moves everything on `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_move_all(list *to, list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_EACH(node, head) for (list *node = (head)->next; node != (head); node = node->next)

#endif
