/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package memapi

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

// discover answers requests for the server's groups, versions and resources.
func (s *Server) discover(c *call) (answer, error) {
	if c.Method != http.MethodGet {
		return answer{}, errNoPath
	}
	path := strings.TrimSuffix(c.URL.Path, "/")
	switch path {
	case "/healthz", "/livez", "/readyz":
		return answer{code: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte("ok")}, nil
	case "/version":
		return jsonAnswer(http.StatusOK, encode(version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.2+memapi"})), nil
	case "/api":
		return jsonAnswer(http.StatusOK, encode(metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
			Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{
				{ClientCIDR: "0.0.0.0/0", ServerAddress: strings.TrimPrefix(Host, "http://")},
			},
		})), nil
	case "/apis":
		return jsonAnswer(http.StatusOK, encode(metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"},
			Groups:   s.groups(),
		})), nil
	}
	for _, group := range s.groups() {
		if path == "/apis/"+group.Name {
			group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return jsonAnswer(http.StatusOK, encode(group)), nil
		}
	}
	var list *metav1.APIResourceList
	for _, t := range s.tables {
		if t.apiPath() == path {
			if list == nil {
				list = &metav1.APIResourceList{
					TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
					GroupVersion: t.gvr.GroupVersion().String(),
				}
			}
			list.APIResources = append(list.APIResources, t.discovered()...)
		}
	}
	if list == nil {
		return answer{}, errNoPath
	}
	return jsonAnswer(http.StatusOK, encode(list)), nil
}

// groups returns all groups but the core group.
func (s *Server) groups() []metav1.APIGroup {
	var groups []metav1.APIGroup
	for _, t := range s.tables {
		if t.gvr.Group == "" {
			continue
		}
		served := metav1.GroupVersionForDiscovery{GroupVersion: t.gvr.GroupVersion().String(), Version: t.gvr.Version}
		at := slices.IndexFunc(groups, func(g metav1.APIGroup) bool { return g.Name == t.gvr.Group })
		if at < 0 {
			groups = append(groups, metav1.APIGroup{Name: t.gvr.Group, PreferredVersion: served})
			at = len(groups) - 1
		}
		if !slices.Contains(groups[at].Versions, served) {
			groups[at].Versions = append(groups[at].Versions, served)
		}
	}
	return groups
}

func (r *resource) discovered() []metav1.APIResource {
	all := []metav1.APIResource{{
		Name:         r.gvr.Resource,
		SingularName: r.singular,
		Namespaced:   r.namespaced,
		Kind:         r.kind,
		Verbs:        metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
		ShortNames:   r.shortNames,
		Categories:   r.categories,
	}}
	if r.status {
		all = append(all, metav1.APIResource{
			Name: r.gvr.Resource + "/status", Namespaced: r.namespaced, Kind: r.kind,
			Verbs: metav1.Verbs{"get", "patch", "update"},
		})
	}
	return all
}
